"""Formats that others read without us."""

from tasks.catalog import catalog
from tasks.exports.contract import Exporter, Said, Sample
from tasks.exports.csv import CSV
from tasks.exports.huggingface import HuggingFace
from tasks.exports.lance import Lance
from tasks.exports.parquet import Parquet
from tasks.exports.webdataset import WebDataset

EXPORTERS: dict[str, type[Exporter]] = catalog(
    CSV,
    HuggingFace,
    Lance,
    Parquet,
    WebDataset,
)

__all__ = ["EXPORTERS", "CSV", "Exporter", "HuggingFace", "Lance", "Parquet", "Said", "Sample", "WebDataset"]
