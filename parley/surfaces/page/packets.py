"""Packets: Socket.IO's frames, without binary attachments and without nonsense.

The page sends neither. python-socketio keeps as many attachments as a client announces, of any
size, and logs a traceback for each packet that it does not understand: a disk is full of those soon.
"""

from socketio.packet import (  # type: ignore[import-untyped]  # python-socketio has no types
    ACK,
    CONNECT,
    DISCONNECT,
    EVENT,
    Packet,
)
from typing_extensions import override

_UNHANDLED = ["not understood"]


class TextPacket(Packet):  # type: ignore[misc]  # the same
    """A packet that takes whatever is no text, or makes no sense, for an event nobody handles."""

    @override
    def decode(self, encoded_packet: object) -> int:
        """Decode a packet; gives the number of attachments that follow, which is none."""
        if not self._is_understood(encoded_packet):
            self.packet_type, self.namespace, self.id = EVENT, "/", None
            self.data = _UNHANDLED
        return 0

    def _is_understood(self, encoded_packet: object) -> bool:
        if not isinstance(encoded_packet, str):
            return False
        try:
            super().decode(encoded_packet)
        except (ValueError, RecursionError):
            return False
        said: object = self.data
        if self.packet_type == EVENT:
            return isinstance(said, list) and bool(said) and isinstance(said[0], str)
        return self.packet_type in {CONNECT, DISCONNECT, ACK}
