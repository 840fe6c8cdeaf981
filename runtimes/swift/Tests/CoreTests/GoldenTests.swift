import Foundation
import Testing

@testable import SegmentAnythingCore

@Suite struct GoldenTests {
    @Test(arguments: [
        "preprocessing", "orientations", "slots", "drawn_prompts", "masks", "polygons", "detections", "refusals",
        "tracking",
    ])
    func everyTopicHasCases(_ topic: String) {
        #expect(Case.all(topic).count >= 4)
    }

    @Test(arguments: Case.all("preprocessing"))
    func preprocessing(_ given: Case) throws {
        let rule = try Preprocess(given.fields.object("preprocess"))
        let layout = try given.fields.text("layout"), expected = try given.array("image")
        let json = try JSON.parse(
            Data(
                #"{"name":"image","shape":\#(expected.shape),"dtype":"\#(given.fields.text("dtype"))","layout":"\#(layout)"}"#
                    .utf8))
        let spec = try TensorSpec(Fields(json, at: "image"))
        let (value, frame) = imageInput(try given.picture(), rule, spec)
        #expect([frame.resized.width, frame.resized.height] == (try given.fields.wholes("resized", 1...99)))
        #expect([frame.offset.x, frame.offset.y] == (try given.fields.wholes("offset", 0...99)))
        var found = try value.tensor().values
        if case .pixels(_, let side) = value { found = channelsFirst(found, side) }
        let far = zip(found, expected.values).map { abs($0 - $1) }.max() ?? 0
        #expect(found.count == expected.values.count)
        #expect(Double(far) <= (try given.fields.number("tolerance")))
    }

    @Test(arguments: Case.all("orientations"))
    func orientations(_ given: Case) throws {
        let turned = try given.picture().upright(try given.fields.whole("orientation", 1...8))
        #expect([turned.height, turned.width, 3] == (try given.array("upright").shape))
        #expect(turned.rgb == (try given.bytes("upright")))
    }

    @Test(arguments: Case.all("slots"))
    func slots(_ given: Case) throws {
        let rule = try PromptRule(given.fields.object("prompts"))
        let (coords, labels) = try given.prompts().packed(try given.frame(), rule)
        #expect(coords == (try given.array("point_coords").values))
        #expect(labels == (try given.array("point_labels").values))
    }

    @Test(arguments: Case.all("drawn_prompts"))
    func drawnPrompts(_ given: Case) throws {
        let rule = try DrawnPrompts(given.fields.object("drawn_prompts"))
        #expect(try given.prompts().drawn(try given.frame(), rule) == (try given.array("prompt_masks")))
    }

    @Test(arguments: Case.all("masks"))
    func masks(_ given: Case) throws {
        let logits = try given.array("low_res_masks")
        let decoded = Decoded(
            logits: logits.values, iou: try given.array("iou_predictions").values, side: logits.shape[1])
        let rule = try MaskRule(given.fields.object("mask"))
        let multimask = try given.fields.flag("multimask")
        let found = decoded.masks(try given.frame(), rule, multimask: multimask)
        let expected = try given.fields.object("expected")
        try expect(found, are: expected, of: given)
        let kept = found.flatMap { $0.lowResMasks?.values ?? [] }
        #expect(kept == (try given.array("low_res_masks", in: expected).values))
        let stability = expected.has("stability") ? try given.array("stability", in: expected).values : nil
        #expect(found.compactMap(\.stability) == (stability ?? []))
    }

    @Test(arguments: Case.all("polygons"))
    func polygons(_ given: Case) throws {
        let shape = try given.array("mask").shape
        let mask = Mask(
            width: shape[1], height: shape[0], pixels: try given.bytes("mask"), iouPrediction: 0,
            stability: nil, lowResMasks: nil)
        let rings = try mask.polygon(tolerance: try given.fields.number("tolerance"))
        let expected: [[CGPoint]] = try given.fields.list("rings").map { ring in
            guard case .list(let corners) = ring else { return [] }
            return corners.map { corner in
                guard case .list(let at) = corner, case .number(let x) = at[0], case .number(let y) = at[1]
                else { return .zero }
                return CGPoint(x: x, y: y)
            }
        }
        #expect(rings == expected)
    }

    @Test(arguments: Case.all("detections"))
    func detections(_ given: Case) throws {
        let frame = try given.frame(), stored = try given.fields.object("outputs")
        var outputs: [String: Tensor] = [:]
        for name in ["boxes", "scores", "coefficients", "prototypes"] {
            outputs[name] = try given.array(name, in: stored)
        }
        let pieces = try findPieces(
            outputs, try DetectionRule(given.fields.object("detections")),
            try MaskRule(given.fields.object("mask")), frame)
        for choice in try given.fields.objects("choices") {
            let found = choose(pieces, try given.prompts(in: choice), frame.original)
            try expect(found, are: choice, of: given)
        }
    }

    @Test(arguments: Case.all("refusals"))
    func refusals(_ given: Case) throws {
        guard given.fields.has("error") else {
            try refuse(given)
            return
        }
        let error = try #require(throws: SegmentAnythingError.self) { try refuse(given) }
        #expect(kind(error) == (try given.fields.text("error")))
        for case .text(let word) in try given.fields.list("says") {
            #expect(error.message.contains(word), "\(error.message)")
        }
        #expect(!error.message.contains("\n"))
    }
}

/// Does what the case asks for.
private func refuse(_ given: Case) throws {
    switch try given.fields.text("kind") {
    case "bundle":
        let url = Case.folder.appendingPathComponent("bundles/\(given.name)")
        let engine = StandingEngine(target: try given.fields.text("target"))
        _ = try SegmentAnything(bundle: url, engine: engine)
    case "picture":
        let size = try given.size()
        _ = try Picture(width: size.width, height: size.height, rgb: [])
    case "slots":
        _ = try given.prompts().packed(try given.frame(), try PromptRule(given.fields.object("prompts")))
    case "drawn":
        let rule = try DrawnPrompts(given.fields.object("drawn_prompts"))
        _ = try given.prompts().drawn(try given.frame(), rule)
    default: _ = try given.prompts().detectable(try given.size())
    }
}

func kind(_ error: SegmentAnythingError) -> String {
    switch error {
    case .request: "RequestError"
    case .prompt: "PromptError"
    case .image: "ImageError"
    case .bundle: "BundleError"
    }
}

private func channelsFirst(_ values: [Float], _ side: Int) -> [Float] {
    (0..<3).flatMap { channel in (0..<(side * side)).map { values[$0 * 3 + channel] } }
}
