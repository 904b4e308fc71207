"""From a query to what is shown: composed, found, reranked, cut and fused."""
