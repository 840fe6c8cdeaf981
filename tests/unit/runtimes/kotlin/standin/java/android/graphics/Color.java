package android.graphics;

public class Color {
    public static final int TRANSPARENT = 0;
    public static final int WHITE = -1;
}
