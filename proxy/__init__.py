"""Numerics of rank search: sites, decompositions, factorised layers, calibration, the proxy metric. Torch only."""

from proxy.assembly import assemble, compress, factorize
from proxy.cache import FactorCache, MemoryCache, factor_key, weight_hash, weight_hashes
from proxy.calibrate import Calibration, OutputMoments, calibrate, output_moments
from proxy.cost import Cost, LayerCost, cost
from proxy.decompose import Ladder, Problem, decompose, decompose_many, rank_ladder, rank_ladders
from proxy.dense_features import DenseFeatures, record_dense
from proxy.error_bound import ranks_for_error
from proxy.errors import (
    MissingInput,
    NotFinite,
    ProxyError,
    RankOutOfRange,
    ShapeMismatch,
    UnknownLayer,
    UnsupportedLayer,
    UnsupportedMethod,
)
from proxy.factors import Factors
from proxy.feature_distance import FeatureMoments, feature_moments
from proxy.finetuning import FineTuning, Progress, TuningState
from proxy.grids import GridPoint
from proxy.inputs import Inputs
from proxy.layers import FactorizedLayer
from proxy.layout import Layout
from proxy.output_change import output_changes
from proxy.output_distance import DenseOutputs, output_distance, reference_outputs
from proxy.rank_rules import rank_rules
from proxy.recipe import Recipe
from proxy.score import Score, reference_logits, score
from proxy.sites import Site, find_sites
from proxy.spectra import energy_ranks
from proxy.vbmf import vbmf_ranks

__all__ = [
    "Calibration",
    "Cost",
    "DenseFeatures",
    "DenseOutputs",
    "FactorCache",
    "FactorizedLayer",
    "Factors",
    "FeatureMoments",
    "FineTuning",
    "GridPoint",
    "Inputs",
    "Ladder",
    "LayerCost",
    "Layout",
    "MemoryCache",
    "MissingInput",
    "NotFinite",
    "OutputMoments",
    "Problem",
    "Progress",
    "ProxyError",
    "RankOutOfRange",
    "Recipe",
    "Score",
    "ShapeMismatch",
    "Site",
    "TuningState",
    "UnknownLayer",
    "UnsupportedLayer",
    "UnsupportedMethod",
    "assemble",
    "calibrate",
    "compress",
    "cost",
    "decompose",
    "decompose_many",
    "energy_ranks",
    "factor_key",
    "factorize",
    "feature_moments",
    "find_sites",
    "output_changes",
    "output_distance",
    "output_moments",
    "rank_ladder",
    "rank_ladders",
    "rank_rules",
    "ranks_for_error",
    "record_dense",
    "reference_logits",
    "reference_outputs",
    "score",
    "vbmf_ranks",
    "weight_hash",
    "weight_hashes",
]
