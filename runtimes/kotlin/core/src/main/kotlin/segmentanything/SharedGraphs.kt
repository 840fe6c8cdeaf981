package segmentanything

import kotlinx.coroutines.CoroutineDispatcher
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import kotlinx.coroutines.withContext

/**
 * A bundle's graphs, loaded by the first call that needs them; the calls run one at a time, on [dispatcher].
 *
 * [owner] is the class that an app has of it. [release] lets go of what the calls keep between them. Throws
 * [SegmentAnythingError.Request] if the engine runs other bundles.
 */
internal class SharedGraphs(
    private val bundle: Bundle,
    private val engine: Engine,
    private val dispatcher: CoroutineDispatcher,
    private val owner: String,
    private val release: () -> Unit = {},
) {
    private val running = Mutex()
    private var graphs: Graphs? = null // guarded by `running`

    @Volatile var isClosed = false
        private set

    init {
        if (bundle.manifest.target != engine.target) {
            throw SegmentAnythingError.Request(
                "this engine runs ${engine.target} bundles, not ${printable(bundle.manifest.target)}: " +
                    "export with --target ${engine.target}"
            )
        }
    }

    /** The graphs, for whoever is [alone] with them. */
    fun loaded(): Graphs = graphs ?: Graphs(bundle, engine).also { graphs = it }

    fun requireOpen() {
        if (isClosed) throw SegmentAnythingError.Request("this $owner is closed: make another")
    }

    /** Runs something that uses the graphs, when nobody else does; not once this is closed. */
    suspend fun <T> alone(work: () -> T): T =
        try {
            withContext(dispatcher) {
                running.withLock {
                    requireOpen()
                    work()
                }
            }
        } finally {
            // Whoever holds the graphs while this is closed has to release them.
            if (isClosed) releaseIfFree()
        }

    /** Refuses later calls; [releaseIfFree] comes after it. */
    fun refuse() {
        isClosed = true
    }

    fun releaseIfFree() {
        if (!running.tryLock()) return
        try {
            release()
            graphs?.close()
            graphs = null
        } finally {
            running.unlock()
        }
    }
}
