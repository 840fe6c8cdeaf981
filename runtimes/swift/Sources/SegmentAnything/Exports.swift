@_exported import SegmentAnythingCore
