extension Manifest {
    /// Checks that the shapes of the tensors are those that the rules make. Throws if one is not.
    func checkAgreement() throws {
        let size = preprocess.size, low = mask.lowResSize
        var inputs = ["image": [1, 3, size, size], "resized_size": [1, 2]]
        var outputs: [String: [Int]] = [:]
        let tokens = tokens()
        switch kind {
        case .slots(let rule):
            inputs["point_coords"] = [rule.batch, rule.slots, 2]
            inputs["point_labels"] = [rule.batch, rule.slots]
            inputs["mask_input"] = [rule.batch, 1, low, low]
            inputs["has_mask_input"] = [rule.batch]
            outputs["low_res_masks"] = [rule.batch, tokens, low, low]
            outputs["iou_predictions"] = [rule.batch, tokens]
            try require("image_encoder", takes: ["image"])
            // A bundle for everything has the decoder in two graphs.
            let isHalved = graphs.contains { $0.name == "token_decoder" }
            try require(isHalved ? "token_decoder" : "mask_decoder", takes: ["point_coords", "point_labels"])
        case .drawn(let rule):
            inputs["prompt_masks"] = [1, 2, size, size]
            outputs["low_res_masks"] = [1, tokens, low, low]
            outputs["iou_predictions"] = [1, tokens]
            try require("segmenter", takes: ["image", "prompt_masks"])
            guard rule.boxChannel != rule.pointChannel else {
                throw disagree("drawn_prompts draws boxes and points into one channel")
            }
        case .detections:
            try require("segmenter", takes: ["image"])
        }
        try checkShapes(inputs, outputs)
        try checkMask(tokens)
        if let video, let fault = videoFault(video) { throw disagree(fault) }
    }

    func tokens() -> Int {
        let made = graphs.flatMap(\.outputs).first { $0.name == "iou_predictions" }
        return made?.shape.last ?? 0
    }

    private func require(_ name: String, takes wanted: [String]) throws {
        let graph = try graph(name)
        for input in wanted where !graph.takes(input) {
            throw disagree("\(name) does not take \(input)")
        }
    }

    private func checkShapes(_ inputs: [String: [Int]], _ outputs: [String: [Int]]) throws {
        for graph in graphs {
            for tensor in graph.inputs {
                if let wanted = inputs[tensor.name], wanted != tensor.canonicalShape {
                    throw disagree("\(tensor.name) is \(tensor.shape), and the rules say \(wanted)")
                }
            }
        }
        let made = graphs.flatMap(\.outputs)
        for (name, wanted) in outputs.sorted(by: { $0.key < $1.key }) {
            guard let tensor = made.first(where: { $0.name == name }) else {
                throw disagree("no graph gives \(name)")
            }
            guard tensor.shape == wanted else {
                throw disagree("\(name) is \(tensor.shape), and the rules say \(wanted)")
            }
        }
    }

    private func checkMask(_ tokens: Int) throws {
        if case .detections = kind { return }
        guard !mask.multi.isEmpty, (mask.multi + [mask.single]).allSatisfy({ $0 < tokens }) else {
            throw disagree("mask uses tokens \(mask.multi), and there are \(tokens)")
        }
        guard mask.upscale != .letterboxBilinear else {
            throw disagree("mask.upscale letterbox_bilinear belongs to detections")
        }
    }

    private func disagree(_ fault: String) -> SegmentAnythingError {
        .bundle("manifest: \(printable(fault, most: 400)); export the bundle again")
    }
}

extension TensorSpec {
    /// The shape with channels first, whatever the graph's own layout.
    public var canonicalShape: [Int] {
        guard layout == "NHWC", shape.count == 4 else { return shape }
        return [shape[0], shape[3], shape[1], shape[2]]
    }
}
