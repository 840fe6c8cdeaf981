package android.graphics;

public final class Bitmap {
    public enum Config { ALPHA_8, RGB_565, ARGB_4444, ARGB_8888, RGBA_F16, HARDWARE, RGBA_1010102 }

    public static Bitmap createBitmap(int width, int height, Config config) { throw new UnsupportedOperationException(); }

    public int getWidth() { throw new UnsupportedOperationException(); }

    public int getHeight() { throw new UnsupportedOperationException(); }

    public Config getConfig() { throw new UnsupportedOperationException(); }

    public boolean isRecycled() { throw new UnsupportedOperationException(); }

    public void recycle() { throw new UnsupportedOperationException(); }

    public Bitmap copy(Config config, boolean isMutable) { throw new UnsupportedOperationException(); }

    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) { throw new UnsupportedOperationException(); }

    public void setPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) { throw new UnsupportedOperationException(); }
}
