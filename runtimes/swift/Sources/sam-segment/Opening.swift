import Foundation
import SegmentAnything
import SegmentAnythingOnnx

/// Opens a bundle with the runtime of its format: ONNX Runtime, and on a Mac Core ML and Core AI too, as an
/// app does.
func opened(_ asked: Arguments, _ bundle: URL? = nil) throws -> SegmentAnything {
    let bundle = bundle ?? asked.bundle
    #if canImport(CoreML)
        if try ModelBundle(bundle, verify: false).manifest.target != "onnx" {
            return try SegmentAnything(bundle: bundle)
        }
    #endif
    let engine = try OnnxRuntimeEngine(library: asked.library, threads: asked.threads)
    return try SegmentAnything(bundle: bundle, engine: engine)
}

/// Opens a bundle that follows objects, as `opened` does one of pictures.
func openedTracker(_ asked: Arguments) throws -> Tracker {
    #if canImport(CoreML)
        if try ModelBundle(asked.bundle, verify: false).manifest.target != "onnx" {
            return try Tracker(bundle: asked.bundle)
        }
    #endif
    let engine = try OnnxRuntimeEngine(library: asked.library, threads: asked.threads)
    return try Tracker(bundle: asked.bundle, engine: engine)
}
