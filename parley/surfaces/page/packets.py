"""Packets: Socket.IO's frames, without binary attachments.

The page sends none, and python-socketio keeps as many as a client announces, of any size.
"""

from typing import Any

from socketio.packet import (  # type: ignore[import-untyped]  # python-socketio has no types
    BINARY_ACK,
    BINARY_EVENT,
    Packet,
)
from typing_extensions import override


class TextPacket(Packet):  # type: ignore[misc]  # the same
    """A packet that refuses attachments while it is decoded."""

    @override
    def decode(self, encoded_packet: str) -> Any:
        """Decode a packet; raises `ValueError` for one that announces attachments."""
        attachments = super().decode(encoded_packet)
        if self.packet_type in {BINARY_EVENT, BINARY_ACK}:
            raise ValueError("binary packets are not taken")
        return attachments
