"""The types of `sam_export`, which is one module and so cannot carry `py.typed` (PEP 561)."""

from exporter import __version__ as __version__
from exporter.bundle.folder import Bundle as Bundle
from exporter.bundle.folder import open_bundle as open_bundle
from exporter.bundle.manifest import Manifest as Manifest
from exporter.bundle.masks import Masks as Masks
from exporter.bundle.prompts import Prompts as Prompts
from exporter.errors import BundleError as BundleError
from exporter.errors import ExportError as ExportError
from exporter.errors import ImageError as ImageError
from exporter.errors import ParityError as ParityError
from exporter.errors import PromptError as PromptError
from exporter.errors import RequestError as RequestError
from exporter.errors import SamExportError as SamExportError
from exporter.job import Job as Job
from exporter.job import Place as Place
from exporter.pipeline import export as export
from exporter.targets import Options as Options
from runtimes.everything import everything as everything
from runtimes.everything.segments import Everything as Everything
from runtimes.parity import check_parity as check_parity
from runtimes.segmenters import Segmenter as Segmenter
from runtimes.segmenters import open_segmenter as open_segmenter
from runtimes.tracker import Tracker as Tracker
from runtimes.tracker import open_tracker as open_tracker
from runtimes.tracking.result import ObjectPrompt as ObjectPrompt
from runtimes.tracking.result import Tracked as Tracked
