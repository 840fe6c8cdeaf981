import Testing

@testable import RunnerCore

@Suite struct JobTests {
    @Test func aJobIsRead() throws {
        let job = try Job(jobText(mode: "session", graphs: [encoderText, decoderText], repeated: ["mask_decoder"]))
        #expect(job.mode == .session)
        #expect((job.runtime, job.delegate) == ("toy", "all"))
        #expect((job.threads, job.runs, job.stableCalls) == (2, 3, 1))
        #expect(job.graphs.map(\.name) == ["image_encoder", "mask_decoder"])
        #expect(job.graphs[1].inputs.map(\.shape) == [[1, 2], [1]])
        #expect(job.graphs[1].cases[0].inputs["embeddings"] == .output(graph: "image_encoder", name: "embeddings"))
        #expect(job.graphs[0].cases[0].outputs == ["embeddings": "out-1.bin"])
        #expect(job.repeated == ["mask_decoder"])
    }

    @Test func noCutIsTakenForAJob() {
        let lines = jobText(graphs: [encoderText]).split(separator: "\n")
        for count in 0..<lines.count {
            #expect(throws: RunnerError.self) { try Job(lines.prefix(count).joined(separator: "\n")) }
        }
    }

    @Test(arguments: [
        ("sam-runner 3", "sam-runner 2", "the job is of version 2"),
        ("mode graph", "mode fast", "no such mode"),
        ("threads 2", "threads 0", "threads should be"),
        ("runs 3", "runs x", "runs should be"),
        ("seconds 0\nwarmup", "seconds nan\nwarmup", "seconds should be a number"),
        ("stable_calls 1", "stable_calls 65", "stable_calls should be"),
        ("bundle-1/image_encoder.onnx", "../secret", "no path inside"),
        ("in-1.bin", "/etc/passwd", "no path inside"),
        ("float32 1,2\noutput", "float64 1,2\noutput", "a tensor is"),
        ("float32 1,2\noutput", "float32 1,999999999\noutput", "a tensor is"),
        ("read image in-1.bin\n", "", "gives no image"),
        ("read image", "read other", "gives no image"),
        ("read image in-1.bin", "read image", "too few or many"),
        ("end\n", "end\nend\n", "after the end"),
        ("cores all", "cores all\nfaster", "faster is unknown"),
    ]) func aWrongLineIsNamed(right: String, wrong: String, says: String) {
        let text = jobText(graphs: [encoderText])
        let changed = text.replacingOccurrences(of: right, with: wrong)
        #expect(changed != text || right == "cores all")
        let error = #expect(throws: RunnerError.self) { try Job(changed) }
        #expect(error?.message.contains(says) == true, "\(error?.message ?? "no error")")
    }

    @Test func aLinkGoesToAnEarlierGraph() {
        #expect(throws: RunnerError("job: mask_decoder links to image_encoder, which is not earlier")) {
            try Job(jobText(mode: "session", graphs: [decoderText, encoderText]))
        }
    }

    @Test func aGraphJobHasOneGraph() {
        #expect(throws: RunnerError.self) { try Job(jobText(graphs: [encoderText, decoderText])) }
        #expect(throws: RunnerError.self) { try Job(jobText(mode: "check", graphs: [])) }
        #expect(throws: RunnerError.self) {
            try Job(jobText(mode: "session", graphs: [encoderText], repeated: ["other"]))
        }
    }
}
