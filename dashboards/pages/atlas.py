"""Map: media as points, neighbours together; what a lasso takes in is shown as a gallery with its ids."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response

from dashboards.pages.cards import cards, rows_by_id
from dashboards.site import Site
from storage import maps
from storage.maps import Map

SHOWN = 300  # pictures of a selection


def routes(site: Site) -> APIRouter:
    """Return the routes of the map."""
    router = APIRouter()

    @router.get("/map")
    def atlas(request: Request) -> Response:
        site.head()
        return site.show(request, "map.html", drawn=maps.newest(site.lake))

    @router.get("/map/points")
    def points() -> dict[str, Any]:
        """Return the points and what each is: its place among `kinds`."""
        drawn, head = _drawn(site), site.head()
        known: dict[str, str] = {}
        for start in range(0, len(drawn.media_ids), 5000):
            part = drawn.media_ids[start : start + 5000]
            rows = rows_by_id(
                site.lake, head, "media", "media_id", part, ["media_id", "modality", "kept", "present"]
            )
            for row in rows:
                is_kept = row["present"] and row["kept"] is not False
                known[row["media_id"]] = row["modality"] if is_kept else "no longer kept"
        said = [known.get(one, "no longer there") for one in drawn.media_ids]
        kinds = sorted(set(said))
        return {
            "map": drawn.id,
            "x": [round(float(x), 4) for x in drawn.points[:, 0]],
            "y": [round(float(y), 4) for y in drawn.points[:, 1]],
            "kind": [kinds.index(one) for one in said],
            "kinds": kinds,
        }

    @router.post("/map/selected", dependencies=[Depends(site.sessions.check)])
    def selected(
        request: Request,
        of: Annotated[str, Form(max_length=32)],
        places: Annotated[str, Form(max_length=1 << 20, pattern=r"^[\d ]*$")],
    ) -> Response:
        drawn, head = _drawn(site), site.head()
        if of != drawn.id:
            raise HTTPException(404, "another map was drawn meanwhile: load the page again")
        ids = [drawn.media_ids[int(one)] for one in places.split() if int(one) < len(drawn.media_ids)]
        return site.show(
            request, "_selected.html", "_selected.html", ids=ids, cards=cards(site.lake, head, ids[:SHOWN])
        )

    return router


def _drawn(site: Site) -> Map:
    found = maps.newest(site.lake)
    if found is None:
        raise HTTPException(404, "no map was drawn yet: run `xmodal map`")
    return found
