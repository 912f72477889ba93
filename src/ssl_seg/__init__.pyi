"""The public names, for type checkers and editors; `__init__.py` loads them when they are used."""

from ssl_seg.augment.geometry import crop_resize as crop_resize
from ssl_seg.augment.views import BYOL_VIEWS as BYOL_VIEWS
from ssl_seg.augment.views import View as View
from ssl_seg.augment.views import evaluation_view as evaluation_view
from ssl_seg.augment.views import multi_crop as multi_crop
from ssl_seg.backbones.timm import TimmBackbone as TimmBackbone
from ssl_seg.base import Backbone as Backbone
from ssl_seg.base import Dataset as Dataset
from ssl_seg.base import Head as Head
from ssl_seg.base import Metric as Metric
from ssl_seg.base import SSLMethod as SSLMethod
from ssl_seg.data.batches import Batches as Batches
from ssl_seg.data.store import Store as Store
from ssl_seg.data.store import open_store as open_store
from ssl_seg.engine.device import Device as Device
from ssl_seg.engine.evaluate import embed as embed
from ssl_seg.engine.fit import Plan as Plan
from ssl_seg.engine.fit import fit as fit
from ssl_seg.engine.health import CollapseAlarm as CollapseAlarm
from ssl_seg.engine.health import effective_rank as effective_rank
from ssl_seg.engine.health import embedding_std as embedding_std
from ssl_seg.engine.optim import build_optimizer as build_optimizer
from ssl_seg.engine.optim import parameter_groups as parameter_groups
from ssl_seg.engine.optim import rate_at as rate_at
from ssl_seg.engine.stop import Stop as Stop
from ssl_seg.engine.weights import load_backbone as load_backbone
from ssl_seg.engine.weights import save_backbone as save_backbone
from ssl_seg.errors import SslSegError as SslSegError
from ssl_seg.hooks import hookimpl as hookimpl
from ssl_seg.layers import frozen_copy as frozen_copy
from ssl_seg.layers import mlp as mlp
from ssl_seg.layers import move_average as move_average
from ssl_seg.layers import pool as pool
from ssl_seg.methods.byol import BYOL as BYOL
from ssl_seg.methods.byol import byol_loss as byol_loss
from ssl_seg.methods.simclr import SimCLR as SimCLR
from ssl_seg.methods.simclr import nt_xent as nt_xent
from ssl_seg.methods.simsiam import SimSiam as SimSiam
from ssl_seg.methods.simsiam import simsiam_loss as simsiam_loss
from ssl_seg.metrics.knn import KNN as KNN
from ssl_seg.metrics.knn import knn_votes as knn_votes
from ssl_seg.run import Run as Run

__version__: str
