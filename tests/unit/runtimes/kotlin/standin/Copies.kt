package app

import android.content.Context
import android.content.res.AssetManager
import java.io.File
import java.util.concurrent.Callable
import java.util.concurrent.Executors
import segmentanything.android.bundleFromAssets

private class Phone(private val files: File) : Context() {
    private val manager = AssetManager()

    override fun getAssets() = manager

    override fun getNoBackupFilesDir() = files
}

/** Copies BUNDLE of the assets into FILES from many threads at once, and prints what each of them met there. */
fun main(words: Array<String>) {
    val (files, bundle) = words
    val pool = Executors.newFixedThreadPool(8)
    val met = pool.invokeAll(List(32) { Callable { bundleFromAssets(Phone(File(files)), bundle).walk().count { it.isFile } } })
    pool.shutdown() // else a fault would leave its threads waiting
    println(met.map { it.get() }.toSet())
}
