import SegmentAnything
import SegmentAnythingOnnx

/// Opens a bundle with the runtime of its format: ONNX Runtime, and on a Mac Core ML and Core AI too, as an
/// app does.
func opened(_ asked: Arguments) throws -> SegmentAnything {
    #if canImport(CoreML)
        if try ModelBundle(asked.bundle, verify: false).manifest.target != "onnx" {
            return try SegmentAnything(bundle: asked.bundle)
        }
    #endif
    let engine = try OnnxRuntimeEngine(library: asked.library, threads: asked.threads)
    return try SegmentAnything(bundle: asked.bundle, engine: engine)
}
