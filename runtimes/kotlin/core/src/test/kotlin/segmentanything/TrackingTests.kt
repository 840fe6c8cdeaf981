package segmentanything

import java.io.File
import java.util.concurrent.CopyOnWriteArraySet
import java.util.concurrent.Executors
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withContext
import kotlinx.serialization.json.JsonPrimitive

/** The golden vectors of tracking, and what they cannot show. */
internal fun Checks.tracking() {
    val cases = Case.all("tracking").groupBy { it.fields.text("kind") }
    val networks = cases.getValue("network").map { StandInNetwork(it, cases.getValue("network")[0]) }
    val folders = networks.associate { it.name to it.write() }
    check("tracking has cases") { same(cases.getValue("frames").size > 10 && networks.size > 2, true) }
    for (case in cases.getValue("frames")) {
        val network = networks.first { it.name == case.fields.text("network") }
        check("tracking: ${case.name}") {
            Follower(case, cases.getValue("prompts").single(), network, folders.getValue(network.name)).run()
        }
    }
    val full = folders.getValue("full")
    opening(full)
    using(full)
    keeping(Bundle(full, verify = false).videoRule())
    folders.values.forEach(File::deleteRecursively)
}

/** One case of the golden vectors. */
private class Follower(
    private val case: Case, private val given: Case, private val network: StandInNetwork, folder: File,
) {
    private val engine = StandInEngine(case.fields.whole("salt", 0..9999).toUInt(), case.fields.text("broken"))
    private val tracker = Tracker(
        folder, engine, case.fields.flag("turns"), case.fields.whole("max_objects", 1..9), verify = false,
    )

    fun run() {
        case.fields.objects("steps").forEachIndexed { at, step -> check(step, "step $at") }
        tracker.close()
        same(engine.open.get(), 0)
    }

    private fun check(step: Fields, place: String) {
        engine.calls.clear()
        val found = try {
            if (step.has("error")) refused(step) else runBlocking { take(step) }.joinToString("; ", transform = ::told)
        } catch (fault: Throwable) {
            throw AssertionError("$place: ${fault.message}", fault)
        }
        fun text(name: String) = if (step.has(name)) step.text(name) else ""
        same("$place: ${engine.calls.joinToString("; ")}", "$place: ${text("calls")}")
        same("$place: $found", "$place: ${text("found")}")
    }

    private fun refused(step: Fields): String {
        val fault = refused(SegmentAnythingError::class) { runBlocking { take(step) } }
        same("${fault::class.simpleName}Error", step.text("error"))
        val says = step.text("says")
        if (says !in fault.message.orEmpty()) throw AssertionError("'$says' is not in '${fault.message}'")
        return ""
    }

    private suspend fun take(step: Fields): List<Tracked> {
        val name = if (step.has("name")) step.text("name") else ""
        when (step.text("do")) {
            "start" -> {
                val frames = if (step.has("frames")) step.whole("frames", 0..99) else null
                tracker.start(picture(step), step.whole("frame", 0..99), frames)
            }
            "add" -> return listOf(tracker.addObject(name, prompt(step.text("prompt"))))
            "correct" -> return listOf(tracker.correct(name, given.prompts(given.fields.obj(step.text("prompt")))))
            "track" -> {
                val named = if (step.has("prompts")) step.texts("prompts").toSortedMap() else emptyMap()
                val listed = if (step.has("objects")) step.list("objects") else null
                val found = tracker.track(
                    picture(step), step.whole("frame", 0..99), named.mapValues { prompt(it.value) },
                    listed?.map { (it as JsonPrimitive).content },
                )
                same(found.keys.toList(), tracker.objects.filter(found::contains))
                same(tracker.frame, step.whole("frame", 0..99))
                return found.values.toList()
            }
            "remove" -> tracker.remove(name)
            else -> tracker.reset()
        }
        return emptyList()
    }

    private fun picture(step: Fields): Picture {
        val size = if (step.has("size")) step.wholes("size", 1..99).let { Size(it[0], it[1]) } else network.size
        return standInPicture(step.whole("frame", 0..99), size)
    }

    private fun prompt(name: String): ObjectPrompt {
        val set = given.fields.obj(name)
        if (!set.has("mask")) return ObjectPrompt(given.prompts(set))
        val (height, width) = given.array("mask", set).shape
        return ObjectPrompt(width, height, given.bytes("mask", set))
    }

    private fun told(found: Tracked): String {
        val there = if (found.present) "present" else "absent"
        val how = if (found.prompted) "prompted" else "tracked"
        val low = "%08x".format(digest(wholes(found.lowResMask.values)).toInt())
        val numbers = "${whole(found.score).toInt()} ${whole(found.iouPrediction).toInt()}"
        return "${found.name} $there $how $numbers $low ${found.mask().area}"
    }
}

private fun Checks.opening(full: File) {
    check("a bundle of videos is not for pictures, and the reverse") {
        val video = refused(SegmentAnythingError.Request::class) { SegmentAnything(full, StandInEngine(), false) }
        same("open it with Tracker" in video.message.orEmpty(), true)
        val good = File(Case.folder, "bundles/good")
        val image = refused(SegmentAnythingError.Bundle::class) { Tracker(good, StandInEngine()) }
        same("has no memory of earlier frames: open it with SegmentAnything" in image.message.orEmpty(), true)
    }
    check("an engine for other bundles is refused") {
        val other = object : Engine by StandInEngine() {
            override val target = "tflite"
        }
        refused(SegmentAnythingError.Request::class) { Tracker(full, other, verify = false) }
    }
    check("host data that is not as the rule says") {
        val file = File.createTempFile("video", ".npz")
        val right = mapOf("a" to listOf(2))
        fun says(content: ByteArray): String {
            file.writeBytes(content)
            return refused(SegmentAnythingError.Bundle::class) { readNpz(file, right) }.message.orEmpty()
        }
        fun arrays(vararg values: Float) = npz(mapOf("a" to Tensor(listOf(values.size), values)))
        file.writeBytes(arrays(1f, 2f))
        same(readNpz(file, right).getValue("a"), floatArrayOf(1f, 2f))
        for (wrong in listOf(arrays(1f), arrays(1f, Float.NaN))) {
            same("a is not finite float32 of [2]" in says(wrong), true)
        }
        same("has no a" in says(npz(mapOf("b" to Tensor(listOf(1), FloatArray(1))))), true)
        for (size in listOf(0, 40)) same("cannot be read" in says(arrays(1f, 2f).copyOf(size)), true)
        file.delete()
    }
}

private fun Checks.using(full: File) {
    val size = Size(16, 12)
    val click = ObjectPrompt(listOf(Point(5, 4)), listOf(1))
    checkAsync("nothing that an engine holds grows with the video") {
        val engine = StandInEngine()
        Tracker(full, engine, verify = false).use { tracker ->
            tracker.start(standInPicture(0, size))
            tracker.addObject("a", click)
            tracker.addObject("b", click)
            tracker.track(standInPicture(1, size))
            val held = engine.open.get()
            for (frame in 2..30) {
                tracker.track(standInPicture(frame, size))
                same(engine.open.get(), held)
            }
            tracker.remove("b")
            same(engine.open.get(), held - 1) // what attention gave for it
        }
        same(engine.open.get(), 0)
    }
    checkAsync("a point corrects a box, which counts again") {
        val engine = StandInEngine()
        Tracker(full, engine, verify = false).use { tracker ->
            tracker.start(standInPicture(0, size))
            tracker.addObject("a", box = Box(2, 1, 9, 10))
            tracker.correct("a", listOf(Point(5, 4)), listOf(0))
            same(engine.calls, listOf("I", "D 2,3,-1 0", "D 0,2,3,-1 1"))
            refused(SegmentAnythingError.Prompt::class) { tracker.correct("a", listOf(Point(5, 4))) }
            same(engine.calls.size, 3)
        }
    }
    checkAsync("a closed tracker is refused, and one that is busy ends its call first") {
        val engine = StandInEngine()
        val tracker = Tracker(full, engine, verify = false)
        tracker.start({ standInPicture(0, size).also { tracker.close() } })
        val calls = listOf<suspend () -> Any>({ tracker.load() }, { tracker.addObject("a", click) }, { tracker.reset() })
        for (call in calls) {
            val error = refused(SegmentAnythingError.Request::class) { call() }
            same(error.message, "this Tracker is closed: make another")
        }
        same(engine.open.get(), 0)
    }
    checkAsync("calls from many coroutines take turns, none on the caller's thread") {
        val threads = CopyOnWriteArraySet<String>()
        val engine = StandInEngine()
        val noting = object : Engine by engine {
            override fun open(graph: GraphFile, file: File, manifest: Manifest): LoadedGraph {
                threads += Thread.currentThread().name
                return engine.open(graph, file, manifest)
            }
        }
        Executors.newSingleThreadExecutor { Thread(it, "caller") }.asCoroutineDispatcher().use { caller ->
            Tracker(full, noting, verify = false).use { tracker ->
                withContext(caller) {
                    tracker.start(standInPicture(0, size))
                    tracker.addObject("a", click)
                    List(20) { async { tracker.track(standInPicture(it + 1, size)).getValue("a").frame } }.awaitAll()
                }
                same(tracker.frame, 20)
            }
        }
        same(threads.isNotEmpty() && threads.none { "caller" in it }, true)
        same(engine.open.get(), 0)
    }
}

private fun Checks.keeping(rule: VideoRule) {
    check("a bank does not grow with the video") {
        for (turns in listOf(false, true)) {
            val bank = Bank(rule, turns)
            for (frame in 0 until 2000) bank.keep(frame, FloatArray(12), FloatArray(4), frame in setOf(0, 900))
            val near = if (turns) 0..15 else 0..0
            same(bank.frames, near.toSet() + 900 + (1984..1999))
        }
    }
    check("float16 is rounded as numpy does") {
        for (bits in 0..0xffff) {
            val wide = half(bits.toShort())
            same(halfBits(wide).toInt() and 0xffff, if (wide.isNaN()) bits and 0x8000 or 0x7e00 else bits)
        }
        val rounded = mapOf(
            1f + 1f / 2048 to 1f, 1f + 3f / 2048 to 1f + 2f / 1024, 65519.996f to 65504f,
            65520f to Float.POSITIVE_INFINITY, 2e-8f to 0f, 3e-8f to 1f / (1 shl 24), 1e-7f to 2f / (1 shl 24),
        )
        for ((value, expected) in rounded) {
            same(half(halfBits(value)), expected)
            same(half(halfBits(-value)), -expected)
        }
    }
}
