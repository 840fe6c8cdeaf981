package segmentanything

import java.io.File
import java.util.concurrent.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.NonCancellable
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.withContext

/**
 * A bundle as an app uses it: an image once, then prompts.
 *
 * Safe to use from any coroutine and thread; the work is done on [dispatcher], never on the caller's
 * thread. An image is encoded once and clicked many times; a click while an image is being encoded waits
 * for it, and a new image cancels the one before. Close it when no more clicks come.
 *
 * The graphs are loaded by the first [setImage], or by [load]. [verify] compares the bundle's files with
 * their hashes, on the thread that constructs this: do it off the main thread for a large one. Throws
 * [SegmentAnythingError.Bundle] if the bundle is not as it was exported, [SegmentAnythingError.Request] if
 * it is for another engine, or follows objects through a video: that is for a [Tracker].
 */
class SegmentAnything(
    folder: File,
    engine: Engine,
    verify: Boolean = true,
    private val dispatcher: CoroutineDispatcher = Dispatchers.Default,
) : AutoCloseable {
    val bundle = Bundle(folder, verify).also(::requirePictures)
    private val graphs = SharedGraphs(bundle, engine, dispatcher, "SegmentAnything")
    private val changed = Any() // guards the image and whether this is closed
    private var image: Image? = null

    /** Loads the graphs ahead of the first image. */
    suspend fun load() {
        graphs.alone { graphs.loaded() }
    }

    /**
     * Takes an image; every later prompt is on it.
     *
     * Throws [CancellationException] if a later image replaced it, or its coroutine was cancelled;
     * [SegmentAnythingError.Bundle] if a graph cannot be loaded or run.
     */
    suspend fun setImage(picture: Picture) = setImage { picture }

    /** Does as the other `setImage`, for a picture that is decoded off the caller's thread. */
    suspend fun setImage(decode: () -> Picture) {
        val mine = Image()
        replace(mine)
        try {
            graphs.alone {
                if (mine.isDropped) throw replaced()
                val scene = graphs.loaded().encode(decode())
                if (!mine.finish(scene)) {
                    scene.close()
                    throw replaced()
                }
            }
        } catch (fault: Throwable) {
            synchronized(changed) { if (image === mine) image = null }
            mine.drop()
            throw fault
        }
    }

    /**
     * Predicts the masks of one prompt set on the image that was set; waits while one is being encoded.
     *
     * [points] and [box] are in pixels of the image; a point a pixel outside is taken to the edge, a box is
     * cut to it. [labels] are 1 foreground, 0 background, one for each point. [mask] is an earlier mask's
     * `lowResMasks`. With [multimask], every candidate in token order instead of one.
     *
     * Throws [SegmentAnythingError.Request] if no image was set, [SegmentAnythingError.Prompt] if the bundle
     * cannot take these prompts.
     */
    suspend fun predict(
        points: List<Point> = emptyList(),
        labels: List<Int> = emptyList(),
        box: Box? = null,
        mask: Tensor? = null,
        multimask: Boolean = false,
    ): List<Mask> = predict(Prompts(points, labels, box), mask, multimask)

    /** Does as the other `predict`, for prompts that are already a [Prompts]. */
    suspend fun predict(prompts: Prompts, mask: Tensor? = null, multimask: Boolean = false): List<Mask> {
        val (image, scene) = encoded()
        try {
            return graphs.alone { graphs.loaded().decode(scene, prompts, mask, multimask) }
        } finally {
            image.release()
        }
    }

    /**
     * Finds everything in a picture: many calls of the decoder, seconds on a phone, and a run of the encoder for
     * the picture and each crop. The image that was set stays, and clicks on it are answered in between.
     *
     * [progress] is called after each call of the decoder, not on the caller's thread. Its coroutine's
     * cancellation ends it at the next call. With [keepPartial] it then returns what was found, as a result that
     * is `partial`: use it in that coroutine before anything suspends, or within `withContext(NonCancellable)`;
     * an `await` of a cancelled `async` throws all the same. One mask at a time is at the picture's size; what
     * waits to be chosen takes 64 MB at most, beyond that a temporary file.
     *
     * Throws [SegmentAnythingError.Request] if the bundle cannot be asked this way; [CancellationException] if
     * nothing is kept: before a detector has found the boxes there is nothing.
     */
    suspend fun everything(
        picture: Picture,
        method: EverythingMethod = EverythingMethod.grid(),
        keepPartial: Boolean = false,
        progress: (EverythingProgress) -> Unit = {},
    ): Everything = everything({ picture }, method, keepPartial, progress)

    /** Does as the other `everything`, for a picture that is decoded off the caller's thread. */
    suspend fun everything(
        decode: () -> Picture,
        method: EverythingMethod = EverythingMethod.grid(),
        keepPartial: Boolean = false,
        progress: (EverythingProgress) -> Unit = {},
    ): Everything {
        val caller = currentCoroutineContext()[Job]
        val find = suspend {
            withContext(dispatcher) {
                BundlePredictor(this@SegmentAnything).use {
                    findEverything(it, decode(), method, caller, keepPartial, progress)
                }
            }
        }
        // A change of dispatchers drops a cancelled coroutine's result, but for one that cannot be cancelled.
        return if (keepPartial) withContext(NonCancellable) { find() } else find()
    }

    /** Runs something on the loaded graphs, when nobody else does. */
    internal suspend fun <T> withGraphs(work: (Graphs) -> T): T = graphs.alone { work(graphs.loaded()) }

    /** Size of the image that was set, null before. */
    val imageSize: Size? get() = synchronized(changed) { image }?.size

    /** Releases the graphs and the image, after the call that is running; later calls are refused. */
    override fun close() {
        synchronized(changed) {
            graphs.refuse()
            image.also { image = null }
        }?.drop()
        graphs.releaseIfFree()
    }

    private fun replace(new: Image) {
        synchronized(changed) {
            graphs.requireOpen()
            image.also { image = new }
        }?.drop()
    }

    /** Waits for the newest image, and keeps its scene from being closed. */
    private suspend fun encoded(): Pair<Image, Scene> {
        while (true) {
            val newest = synchronized(changed) { image } ?: run {
                graphs.requireOpen()
                throw noImage()
            }
            try {
                newest.await()
            } catch (_: CancellationException) {
                // Either this click was cancelled, or the image was and another may have come.
                currentCoroutineContext().ensureActive()
                continue
            }
            newest.use()?.let { return newest to it }
        }
    }

    private fun noImage() = SegmentAnythingError.Request("no image: call setImage before predict")

    private fun replaced() = CancellationException("a later image replaced this one")
}

private fun requirePictures(bundle: Bundle) {
    if (bundle.manifest.video == null) return
    throw SegmentAnythingError.Request(
        "${printable(bundle.folder.path)} follows objects through a video: open it with Tracker " +
            "(sam-segment: --frames FOLDER)"
    )
}

/** An image that is being encoded or is; its scene is closed when it was dropped and no click uses it. */
private class Image {
    private val encoded = CompletableDeferred<Unit>()
    private var scene: Scene? = null
    private var users = 1 // whoever set it, and each click
    private var dropped = false

    val size: Size? @Synchronized get() = scene?.frame?.original

    val isDropped: Boolean @Synchronized get() = dropped

    /** Waits until it is encoded. Throws [CancellationException] if it was dropped before. */
    suspend fun await() = encoded.await()

    /** Takes the scene, unless this was dropped. */
    @Synchronized
    fun finish(made: Scene): Boolean {
        if (dropped) return false
        scene = made
        return encoded.complete(Unit)
    }

    /** Keeps the scene open until [release]; null if it is closed. */
    @Synchronized
    fun use(): Scene? = scene?.also { users++ }

    @Synchronized
    fun release() {
        users--
        if (users > 0) return
        scene?.close()
        scene = null
    }

    /** Ends it for whoever set it; clicks that use it go on. */
    @Synchronized
    fun drop() {
        if (dropped) return
        dropped = true
        encoded.cancel()
        release()
    }
}
