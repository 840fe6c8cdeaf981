package ai.onnxruntime;

import java.nio.FloatBuffer;

public class OnnxTensor extends OnnxTensorLike {
    public static OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException { throw new UnsupportedOperationException(); }

    /** Copies; null if the tensor is not of floats. */
    public FloatBuffer getFloatBuffer() { throw new UnsupportedOperationException(); }

    @Override
    public Object getValue() throws OrtException { throw new UnsupportedOperationException(); }

    @Override
    public void close() { throw new UnsupportedOperationException(); }
}
