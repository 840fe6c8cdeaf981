package app

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Job
import kotlinx.coroutines.launch
import segmentanything.Everything
import segmentanything.EverythingMethod
import segmentanything.Point
import segmentanything.SegmentAnything
import segmentanything.Tracker
import segmentanything.android.LiteRtEngine
import segmentanything.android.bitmap
import segmentanything.android.bundleFromAssets
import segmentanything.android.everything
import segmentanything.android.setImage
import segmentanything.android.start
import segmentanything.android.track

class App(private val context: Context) {
    suspend fun overlays(photo: Bitmap, tap: Point): List<Bitmap> {
        val bundle = bundleFromAssets(context, "demo-tflite-fp16")           // or a folder of the app's files
        val sam = SegmentAnything(bundle, LiteRtEngine(Accelerator.GPU))     // reads and verifies it
        sam.setImage(photo)                                                  // once; a Bitmap, off the main thread
        val masks = sam.predict(listOf(tap), listOf(1))                      // in pixels of the photo, milliseconds
        val outline = masks[0].polygon(tolerance = 1.0)                      // also boundingBox, iouPrediction, bitmap()
        val refined = sam.predict(listOf(tap), listOf(1), mask = masks[0].lowResMasks)
        sam.close()
        return if (outline.isEmpty()) emptyList() else listOf(masks[0].bitmap(), refined[0].bitmap())
    }

    suspend fun follow(first: Bitmap, next: Bitmap, tap: Point, miss: Point): List<Bitmap> {
        val bundle = bundleFromAssets(context, "edgetam-video-tflite-fp16")
        val tracker = Tracker(bundle, LiteRtEngine(Accelerator.GPU))         // maxObjects = 16, turns = false (both ways)
        tracker.start(first)                                                 // a Bitmap, off the main thread
        tracker.addObject("dog", listOf(tap), listOf(1))                     // or box = ..., or ObjectPrompt(mask)
        val dog = tracker.track(next).getValue("dog")                        // mask(), score, present, lowResMask
        val better = tracker.correct("dog", listOf(miss), listOf(0))         // improves this frame's mask
        tracker.close()
        return listOf(dog.mask().bitmap(), better.mask().bitmap())
    }

    suspend fun everything(sam: SegmentAnything, photo: Bitmap): List<Bitmap> {
        val found = sam.everything(photo, EverythingMethod.grid(pointsPerSide = 16)) { progress ->
            println("${progress.done} of ${progress.planned}")               // not on the main thread
        }
        val masks = found.segments.map { it.mask.bitmap() }                  // also area, bbox, predictedIou, cocoCounts
        val labels = found.labels()                                          // one number a pixel, small masks on large
        return if (labels.isEmpty()) emptyList() else masks
    }

    fun stoppable(
        scope: CoroutineScope, sam: SegmentAnything, photo: Bitmap, stopButton: Button, show: (Everything) -> Unit,
    ): Job {
        val finding = scope.launch {
            val found = sam.everything(photo, EverythingMethod.proposed(fast = true), keepPartial = true)
            show(found)                                                      // what was found until then
            if (found.partial) println("${found.asked.prompts} of ${found.asked.planned}")
            found.notes.forEach(::println)                                   // what fast cost
        }
        stopButton.action = { finding.cancel() }
        return finding
    }
}

class Button {
    var action: () -> Unit = {}
}
