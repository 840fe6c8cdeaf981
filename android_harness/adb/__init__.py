"""Reaching a device: the user's own adb, one device on it, many questions in one trip."""
