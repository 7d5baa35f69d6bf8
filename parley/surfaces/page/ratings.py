"""Ratings: Chainlit's two routes for feedback, with our refusals in place of its status 500."""

import msgspec
from chainlit.data.base import BaseDataLayer
from chainlit.types import Feedback
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.errors import InvalidRequest, NotFound
from parley.surfaces.http.bodies import decode_body
from parley.surfaces.page.runs import run_id_of

_BODY_LIMIT = 64 * 1024


class _Feedback(msgspec.Struct):
    forId: str  # noqa: N815 - the page's names
    value: int
    comment: str | None = None
    id: str | None = None


class _Rated(msgspec.Struct):
    feedback: _Feedback


class _TakenBack(msgspec.Struct):
    feedbackId: str  # noqa: N815


def rating_routes(data_layer: BaseDataLayer) -> list[Route]:
    """Make the routes; what may be rated by whom, the data layer decides."""

    async def rate(request: Request) -> Response:
        said = (await decode_body(request, _Rated, _BODY_LIMIT)).feedback
        if said.value not in (0, 1):
            raise InvalidRequest("The value of feedback is 0 or 1.")
        try:
            answer_id = run_id_of(said.forId)
        except ValueError:
            raise NotFound("There is no such message to rate.") from None
        feedback = Feedback(answer_id, 1 if said.value else 0, id=said.id, comment=said.comment)
        feedback_id = await data_layer.upsert_feedback(feedback)
        return JSONResponse({"success": True, "feedbackId": feedback_id})

    async def take_back(request: Request) -> Response:
        taken_back = await decode_body(request, _TakenBack, _BODY_LIMIT)
        return JSONResponse({"success": await data_layer.delete_feedback(taken_back.feedbackId)})

    return [
        Route("/feedback", rate, methods=["PUT"]),
        Route("/feedback", take_back, methods=["DELETE"]),
    ]
