package ai.onnxruntime;

import java.util.Iterator;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

public class OrtSession implements AutoCloseable {
    public Result run(Map<String, ? extends OnnxTensorLike> inputs, Set<String> requestedOutputs) throws OrtException { throw new UnsupportedOperationException(); }

    @Override
    public void close() throws OrtException { throw new UnsupportedOperationException(); }

    public static class SessionOptions implements AutoCloseable {
        public void setIntraOpNumThreads(int numThreads) throws OrtException { throw new UnsupportedOperationException(); }

        public void addConfigEntry(String configKey, String configValue) throws OrtException { throw new UnsupportedOperationException(); }

        @Override
        public void close() { throw new UnsupportedOperationException(); }
    }

    public static class Result implements AutoCloseable, Iterable<Map.Entry<String, OnnxValue>> {
        public Optional<OnnxValue> get(String key) { throw new UnsupportedOperationException(); }

        @Override
        public Iterator<Map.Entry<String, OnnxValue>> iterator() { throw new UnsupportedOperationException(); }

        @Override
        public void close() { throw new UnsupportedOperationException(); }
    }
}
