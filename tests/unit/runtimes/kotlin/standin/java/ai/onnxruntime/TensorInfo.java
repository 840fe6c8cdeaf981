package ai.onnxruntime;

public class TensorInfo implements ValueInfo {
    public long[] getShape() { throw new UnsupportedOperationException(); }
}
