package segmentanything

import java.io.File
import java.util.concurrent.CancellationException
import java.util.concurrent.Executors
import kotlin.concurrent.thread
import kotlin.io.path.createTempDirectory
import kotlinx.coroutines.CoroutineStart
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.supervisorScope
import kotlinx.coroutines.withContext

private val good = File(Case.folder, "bundles/good")
private val click = Prompts(listOf(Point(1, 1)), listOf(1))

private fun picture(level: Int) = Picture(4, 3, ByteArray(36) { level.toByte() })

internal fun Checks.sessions() {
    oneImage()
    severalImages()
    closing()
}

private fun Checks.oneImage() {
    checkAsync("a click before an image is refused") {
        SegmentAnything(good, StandingEngine("onnx")).use { sam ->
            val error = refused(SegmentAnythingError.Request::class) { sam.predict(click) }
            same(error.message, "no image: call setImage before predict")
            same(sam.imageSize, null)
        }
    }
    checkAsync("many clicks on one image") {
        val gate = Gate().apply { open() }
        val engine = StandingEngine("onnx", gate)
        SegmentAnything(good, engine).use { sam ->
            sam.setImage(picture(9))
            repeat(3) {
                val mask = sam.predict(listOf(Point(1, 1)), listOf(1)).single()
                same(mask.pixels, ByteArray(12) { 1 })
                same(mask.iouPrediction, 9f)
            }
            same(sam.predict(box = Box(0, 0, 2, 2), multimask = true).size, 3)
            same(gate.came.get(), 1)
            same(sam.imageSize, Size(4, 3))
            same(engine.open.get(), 3) // two graphs and the embeddings
        }
        same(engine.open.get(), 0)
    }
    checkAsync("an earlier mask goes back in") {
        SegmentAnything(good, StandingEngine("onnx")).use { sam ->
            sam.setImage(picture(9))
            val first = sam.predict(click).single().lowResMasks!!
            same(sam.predict(click, first).single().iouPrediction, 18f)
            refused(SegmentAnythingError.Prompt::class) {
                sam.predict(click, Tensor(listOf(2, 2), FloatArray(4)))
            }
            val side = first.shape[1]
            val bad = Tensor(listOf(side, side), FloatArray(side * side) { Float.NaN })
            val error = refused(SegmentAnythingError.Prompt::class) { sam.predict(click, bad) }
            same(error.message, "mask_input holds values that are not finite")
        }
    }
    checkAsync("a click waits for the encoder") {
        val gate = Gate()
        SegmentAnything(good, StandingEngine("onnx", gate)).use { sam ->
            val setting = async { sam.setImage(picture(7)) }
            gate.waitForSomeone()
            val clicks = List(64) { async { sam.predict(click).single().iouPrediction } }
            delay(100)
            same(clicks.none { it.isCompleted }, true)
            gate.open()
            setting.await()
            same(clicks.awaitAll().toSet(), setOf(7f))
        }
    }
    check("a manifest that is too large is none") {
        val folder = createTempDirectory().toFile()
        good.copyRecursively(folder, overwrite = true)
        File(folder, "manifest.json").appendText(" ".repeat(4 shl 20))
        val error = refused(SegmentAnythingError.Bundle::class) { Bundle(folder) }
        same(error.message?.endsWith("manifest.json has more than 4 MB: it is no manifest"), true)
        folder.deleteRecursively()
    }
    checkAsync("a wrong click leaves the image") {
        SegmentAnything(good, StandingEngine("onnx")).use { sam ->
            sam.setImage(picture(5))
            refused(SegmentAnythingError.Prompt::class) { sam.predict(Prompts()) }
            same(sam.predict(click).single().iouPrediction, 5f)
        }
    }
}

private fun Checks.severalImages() {
    checkAsync("a new image cancels the old one") {
        val gate = Gate()
        val engine = StandingEngine("onnx", gate)
        SegmentAnything(good, engine).use { sam ->
            supervisorScope {
                val old = async { sam.setImage(picture(7)) }
                gate.waitForSomeone()
                val waiting = async { sam.predict(click).single().iouPrediction }
                delay(50)
                // It is the newest image before anything suspends.
                val new = async(start = CoroutineStart.UNDISPATCHED) { sam.setImage(picture(8)) }
                gate.open()
                refused(CancellationException::class) { old.await() }
                new.await()
                same(waiting.await(), 8f)
                same(sam.predict(click).single().iouPrediction, 8f)
            }
            same(engine.open.get(), 3)
        }
    }
    checkAsync("a cancelled image is not taken") {
        val gate = Gate()
        SegmentAnything(good, StandingEngine("onnx", gate)).use { sam ->
            val setting = async { sam.setImage(picture(7)) }
            gate.waitForSomeone()
            thread {
                Thread.sleep(100)
                gate.open()
            }
            setting.cancelAndJoin()
            refused(SegmentAnythingError.Request::class) { sam.predict(click) }
            sam.setImage(picture(6))
            same(sam.predict(click).single().iouPrediction, 6f)
        }
    }
    checkAsync("images and clicks from many coroutines") {
        val engine = StandingEngine("onnx")
        SegmentAnything(good, engine).use { sam ->
            sam.setImage(picture(1))
            supervisorScope {
                val images = List(20) { async { sam.setImage(picture(it + 2)) } }
                val clicks = List(50) { async { sam.predict(click).single() } }
                images.forEach { it.join() }
                clicks.forEach { same(it.await().iouPrediction in 1f..21f, true) }
            }
            same(engine.open.get(), 3)
        }
        same(engine.open.get(), 0)
    }
    checkAsync("nothing runs on the caller's thread") {
        Executors.newSingleThreadExecutor { Thread(it, "caller") }.asCoroutineDispatcher().use { caller ->
            val threads = mutableSetOf<String>()
            val engine = object : Engine {
                private val standing = StandingEngine("onnx")
                override val target = "onnx"

                override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
                    threads += Thread.currentThread().name
                    return standing.open(graph, file, manifest)
                }
            }
            SegmentAnything(good, engine).use { sam -> withContext(caller) { sam.setImage(picture(1)) } }
            same(threads.isNotEmpty() && threads.none { "caller" in it }, true)
        }
    }
}

private fun Checks.closing() {
    checkAsync("what is closed is refused") {
        val sam = SegmentAnything(good, StandingEngine("onnx"))
        sam.setImage(picture(1))
        sam.close()
        sam.close()
        refused(SegmentAnythingError.Request::class) { sam.predict(click) }
        refused(SegmentAnythingError.Request::class) { sam.setImage(picture(2)) }
        refused(SegmentAnythingError.Request::class) { sam.load() }
    }
    checkAsync("closing waits for the encoder") {
        val gate = Gate()
        val engine = StandingEngine("onnx", gate)
        val sam = SegmentAnything(good, engine)
        supervisorScope {
            val setting = async { sam.setImage(picture(7)) }
            gate.waitForSomeone()
            sam.close()
            same(engine.open.get(), 2)
            gate.open()
            refused(CancellationException::class) { setting.await() }
        }
        same(engine.open.get(), 0)
    }
    checkAsync("graphs that cannot be loaded leave nothing open") {
        val engine = object : Engine {
            val standing = StandingEngine("onnx")
            override val target = "onnx"

            override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
                if (graph.name == "mask_decoder") throw SegmentAnythingError.Bundle("no decoder")
                return standing.open(graph, file, manifest)
            }
        }
        SegmentAnything(good, engine).use { sam ->
            supervisorScope {
                val setting = async { sam.setImage(picture(1)) }
                same(refused(SegmentAnythingError.Bundle::class) { setting.await() }.message, "no decoder")
            }
            refused(SegmentAnythingError.Request::class) { sam.predict(click) }
        }
        same(engine.standing.open.get(), 0)
    }
}
