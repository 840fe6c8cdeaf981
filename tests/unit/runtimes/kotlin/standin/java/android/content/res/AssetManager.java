package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;

/** Runs here too: the assets are the files of a folder, `standin.assets`. */
public final class AssetManager {
    private final File assets = new File(System.getProperty("standin.assets", "."));

    public InputStream open(String fileName) throws IOException { return new FileInputStream(new File(assets, fileName)); }

    public String[] list(String path) throws IOException {
        String[] names = new File(assets, path).list();
        return names == null ? new String[0] : names;
    }
}
