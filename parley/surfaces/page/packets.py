"""Packets: Socket.IO's frames, without binary attachments.

The page sends none, and python-socketio keeps as many as a client announces, of any size.
"""

from socketio.packet import (  # type: ignore[import-untyped]  # python-socketio has no types
    BINARY_ACK,
    BINARY_EVENT,
    EVENT,
    Packet,
)
from typing_extensions import override

_UNHANDLED = ["binary"]


class TextPacket(Packet):  # type: ignore[misc]  # the same
    """A packet that takes everything binary for an event which nobody handles."""

    @override
    def decode(self, encoded_packet: str | bytes) -> int:
        """Decode a packet; gives the number of attachments that follow, which is none."""
        if isinstance(encoded_packet, str):
            super().decode(encoded_packet)
            kind: int = self.packet_type  # type: ignore[has-type]  # the same
            if kind not in {BINARY_EVENT, BINARY_ACK}:
                return 0
        self.packet_type, self.namespace, self.id = EVENT, "/", None
        self.data = _UNHANDLED
        return 0
