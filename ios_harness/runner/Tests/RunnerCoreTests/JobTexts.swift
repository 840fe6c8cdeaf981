/// A job as job.py writes it.
func jobText(mode: String = "graph", graphs: [String], repeated: [String] = []) -> String {
    """
    sam-runner 3
    mode \(mode)
    runtime toy -
    library -
    delegate all
    threads 2
    cores all
    runs 3
    seconds 0
    warmup_seconds 0
    warmup_least_seconds 0
    stable_calls 1
    stable_within 0.02

    """ + (graphs + repeated.map { "repeat \($0)\n" }).joined() + "end\n"
}

let encoderText = """
    graph image_encoder
    model bundle-1/image_encoder.onnx
    signature -
    input image float32 1,2
    output embeddings float32 1,2
    case one
    read image in-1.bin
    write embeddings out-1.bin

    """
let decoderText = """
    graph mask_decoder
    model bundle-1/mask_decoder.onnx
    signature -
    input embeddings float32 1,2
    input point float32 1
    output masks float32 1,2
    case one
    link embeddings image_encoder embeddings
    read point in-2.bin
    write masks out-2.bin

    """
