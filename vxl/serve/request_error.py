"""What a request is refused with: status, words and the field that is meant, as OpenAI's clients read it."""

from typing import Any


class RequestError(Exception):
    """A request that is not answered.

    Args:
        message: What was got, what is allowed.
        param: The field that is meant, such as `messages[0].content[1].video_url.url`.
        status: 4xx where the client can mend it.
        code: A word for programs, where OpenAI has one.
    """

    def __init__(
        self, message: str, param: str | None = None, *, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code

    @property
    def body(self) -> dict[str, Any]:
        """The body of the response, or of an event in a stream that has begun."""
        kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        kind = "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}
