"""The paper's recipe as a ConfigDict, and the only place that turns a ConfigDict into frozen specs."""

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from rtseg_jax.architecture import MIXED, NetworkSpec, declare, network_class
from rtseg_jax.architecture.guidance import with_detail_head
from rtseg_jax.data import DatasetInfo, DataSpec, dataset_info
from rtseg_jax.errors import UserError
from rtseg_jax.export.spec import INTEGERS
from rtseg_jax.latency import LatencySpec
from rtseg_jax.latency.devices import check_device, check_precision
from rtseg_jax.phase_names import SUPERNET, phases_of
from rtseg_jax.search.budget import Budget
from rtseg_jax.search.uniform import FORMS
from rtseg_jax.training.losses import LossSpec
from rtseg_jax.training.specs import ROUNDED, MeshSpec, SearchSpec, TrainSpec


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """A whole run, typed and frozen; one spec for every room."""

    phases: tuple[str, ...]
    init_from: str | None
    network: NetworkSpec
    data: DataSpec
    info: DatasetInfo
    train: TrainSpec
    loss: LossSpec
    search: SearchSpec
    latency: LatencySpec
    predictor: str | None
    budget: Budget | None
    mesh: MeshSpec
    profile_steps: tuple[int, int] | None

    @property
    def searches(self) -> bool:
        """Whether the network is a supernet; any other one is trained as it is."""
        return self.network.name == SUPERNET


def base_config() -> ml_collections.ConfigDict:
    """RTSeg's recipe for Cityscapes; values not marked are of the paper's section "Experimental Settings".

    What is not as published, the search above all, is as published in `configs/published.py`.
    """
    config = ml_collections.ConfigDict()
    config.seed = 0  # everything random comes from it
    config.batch_size = 64  # pictures per step over all devices (8 on each of 8 GPUs)
    config.phases = ()  # which phases to run, see docs/ARCHITECTURE.md, How a run flows; empty: all
    config.init_from = ""  # another run's workdir to take the supernet or architecture.json from; empty: none
    config.budget = ""  # searches without a device, at eval_size: gmacs:NUMBER or mparams:NUMBER; empty: by latency
    config.model = "rtseg"  # which network: rtseg is built by config.network; others, see rtseg_jax/zoo, as published
    config.converter = LatencySpec().converter  # who writes .tflite files, of sweeps and of the export: jax2tf, litert
    config.profile_steps = ()  # (first, last): writes a trace of these steps of every training phase; empty: none
    config.mesh = _mesh()
    config.data = _data()
    config.network = _network()
    config.train = _train()
    config.loss = _loss()
    config.search = _search()
    config.latency = _latency()
    return config


def _mesh() -> ml_collections.ConfigDict:
    mesh = ml_collections.ConfigDict()  # how the devices are arranged, see docs/ARCHITECTURE.md; results do not change
    mesh.data = 0  # parts of a batch; 0: as many as the other two leave devices
    mesh.fsdp = 1  # parts of every kernel and its momentum, and as many more of a batch
    mesh.spatial = 1  # parts of the rows of a picture
    return mesh


def _data() -> ml_collections.ConfigDict:
    data = ml_collections.ConfigDict()
    data.name = "cityscapes"  # data set, see rtseg_jax/data
    data.data_dir = ""  # folder of the data set, or its zip or tar; empty where none is needed
    data.train_split = "train"  # what is trained on: train, validation, test, or several joined by +
    data.validation_split = "validation"  # what is scored, likewise; only splits that have labels
    data.classes = ()  # classes to learn, NAME or NEW=NAME+NAME: ('road', 'vehicle=car+truck+bus'); empty: all
    data.rest = "ignore"  # classes not picked: ignore, or other (one more class of that name)
    data.ids = ""  # meaning of numbers or colours in label files: 0=background,255=person or 12=ignore or #ff0000=car
    data.bad = "refuse"  # files that cannot be used: refuse to start, or skip them and say which
    data.pairs = ""  # of `folder`: patterns of pictures and labels, as 'images/*.jpg masks/*_gt.png'; empty: found
    data.validation_share = 0.2  # of `folder` without a split: share of the pictures to score, drawn with the seed
    data.held_out = 0.1  # share of the training pictures on which decisions are made, never trained on (ours); 0: none
    data.train_size = (512, 1024)  # crop, (height, width) in pixels
    data.eval_size = (512, 1024)  # network input at evaluation and on the phone, pixels
    data.base_size = (512, 1024)  # resized to this before random scaling (ours: Cityscapes halved first); (0, 0): not
    data.scales = (0.5, 0.75, 1.0, 2.0)  # random scales, factors of base_size
    data.scale_range = (0.0, 0.0)  # continuous random scale that replaces `scales`; (0, 0): off
    data.flip = True  # mirror one picture in two
    data.brightness = 0.4  # largest relative change of brightness (colour jitter; strengths not published, ours)
    data.contrast = 0.4  # likewise, of contrast
    data.saturation = 0.4  # likewise, of saturation
    data.augment_on = "host"  # or device: scale, crop, flip and colour inside the jitted step, see docs/data.md
    data.cache_gib = 1.0  # decoded pictures of each split that a process keeps in memory, GiB; 0: none
    data.stand_in = False  # draw pictures instead of reading them: tries a config without its data
    data.num_train = 1000  # pictures to draw for training (drawn data only)
    data.num_validation = 100  # pictures to draw for validation (drawn data only)
    return data


def _network() -> ml_collections.ConfigDict:
    network = ml_collections.ConfigDict()
    network.block = "mixed"  # mixed (the supernet), or one of its operators everywhere: lir or mhsa
    network.candidates = ("lir", "mhsa")  # operators that a mixed block chooses from, besides none (figure 2)
    network.width = 2.19  # factor on BiSeNetV2's channels (fitted to the published 24.43 M and 136.0 GMACs)
    network.detail_blocks = (2, 3, 3)  # convolutions of the detail branch at 1/2, 1/4, 1/8 (BiSeNetV2)
    network.segment_blocks = (2, 2, 3)  # blocks at 1/8, 1/16, 1/32 (figure 1)
    network.stem_width = 1.0  # factor on the channels of the segment branch's stem
    network.stage_widths = (1.0, 1.0, 1.0)  # factors on the segment branch's channels at 1/8, 1/16, 1/32
    network.head_channels = 1024  # channels of the head at width 1.0 (BiSeNetV2)
    network.patch_sizes = (2, 1, 1)  # P, side of a patch of attention at 1/8, 1/16, 1/32 (fitted to table 4)
    network.expansion = 6  # factor by which LIR and downsampling blocks are wider inside (BiSeNetV2)
    network.mlp_ratio = 4  # factor by which the token MLP is wider inside (ViT)
    network.mlp_activation = "gelu"  # inside of the token MLP: gelu (ViT), hard_swish or relu (ours)
    network.head_width = 32  # channels of an attention head (ours)
    network.auxiliary_channels = 64  # channels of the auxiliary heads (ours)
    network.dropout = 0.1  # share of the head's numbers that a training step leaves out (BiSeNetV2)
    return network


def _train() -> ml_collections.ConfigDict:
    train = ml_collections.ConfigDict()
    train.eval_batch_size = 8  # pictures per evaluation step over all devices
    train.pretrain_steps = 19_200  # steps of the supernet (ours, as all three; published: 160,000, 40,000 and 40,000)
    train.search_steps = 24_000  # steps of the search
    train.finetune_steps = 196_800  # steps of the searched network
    train.rounded_steps = 0  # last steps of finetune, uniform and train that round as the int8 file; 0: none (ours)
    train.uniform_steps = -1  # steps of the uniformly scaled baseline; -1: as long as all three phases above
    train.restarts = False  # pretrain, search and finetune share one decay (ours); True: each starts anew, as published
    train.learning_rate = 0.1  # learning rate of the first step
    train.search_learning_rate = 0.1  # likewise, of weights in the search, where train.restarts
    train.finetune_learning_rate = 0.1  # likewise, of fine-tuning, where train.restarts
    train.power = 0.9  # exponent of the poly decay of the learning rate
    train.warmup_steps = 0  # linear warm-up of each schedule, steps
    train.momentum = 0.9  # momentum of SGD
    train.weight_decay = 5e-4  # weight decay, on kernels only (usual for this family; not published)
    train.clip_norm = 0.0  # largest global gradient norm; 0: no clipping
    train.accumulate = 1  # steps whose gradients are averaged into one update
    train.bfloat16 = False  # compute in bfloat16; parameters, statistics and losses stay float32
    train.rematerialize = False  # blocks are computed again backward: less memory for more arithmetic
    train.recalibration_batches = (
        100  # where train.restarts: training batches to re-estimate batch-norm statistics after slicing (ours)
    )
    train.log_every = 100  # steps from one row of losses to the next
    train.eval_every = 4_000  # steps from one score to the next; 0: only at the end of a phase
    train.checkpoint_every = 1_000  # steps from one checkpoint to the next
    train.patience_minutes = 30.0  # of several processes: ends a run in which no step is finished for so long; 0: never
    train.keep_checkpoints = 2  # newest checkpoints of a phase that stay, besides the best by mIoU
    train.num_threads = 16  # reading threads per process, shared out among its workers
    train.num_workers = 0  # processes that read for each process, see docs/data.md; 0: threads only
    train.tensorboard = True  # write TensorBoard files (imports TensorFlow)
    return train


def _loss() -> ml_collections.ConfigDict:
    loss = ml_collections.ConfigDict()
    loss.beta = 0.01  # β, per unit of cost: weight of |cost − target| where search.literal, else scale of the price
    loss.gamma = 1.0  # γ, weight of the auxiliary losses
    loss.teacher = ""  # workdir of a finished run that teaches, of the same classes: a better one than what is trained
    loss.lam = 0.0  # λ, weight of pixel-wise distillation; 0.001 from the supernet as published, about 1 from a teacher
    loss.kl_first = "student"  # KL(student ‖ teacher) as published, or teacher: KL(teacher ‖ student), as elsewhere
    loss.pairwise = 0.0  # weight of structured distillation from a teacher (Liu et al. 2019; there 10)
    loss.channelwise = 0.0  # weight of channel-wise distillation from a teacher (Shu et al. 2021; there 3)
    loss.detail = 0.0  # weight of detail guidance, 1 as published (STDC); its head is thrown away
    loss.detail_at = ""  # block whose output is guided; empty: the last of the first at 1/8
    loss.ohem = False  # online hard example mining in the main loss (option; not in the paper)
    loss.ohem_threshold = 0.7  # probability under which a pixel is hard
    loss.ohem_min_kept = 1 / 16  # fewest kept, share of valid pixels
    loss.class_weights = ()  # weight of each class in the loss; empty: all 1
    return loss


def _search() -> ml_collections.ConfigDict:
    search = ml_collections.ConfigDict()
    search.rule = "worth"  # what channels cost together per millisecond (ours), or published: RTSeg's
    search.rounds = 10  # decisions of the search by worth; latency falls to its target over them (ours)
    search.samples = 40  # steps whose mask gradients a decision goes by (ours)
    search.prior = 0.15  # weight of all groups mattering alike beside their worth, see search/worth.py (ours)
    search.yardstick = "lir_quarter_head"  # form of uniform scaling to compare with, see search/uniform.py (ours)
    search.literal = False  # the published search to the letter: β constant, on |Σ latency − target|; raw steps
    search.width_rate = 0.0  # step size of indicators; 0: β·latency alone moves a typical one by 0.5 in a fifth (ours)
    search.path_rate = 0.0  # step of path logits; 0: it moves the costliest from the cheapest by 1 in a fifth (ours)
    search.temperature_start = 5.0  # Gumbel temperature τ, falls exponentially (not published, ours)
    search.temperature_end = 0.5  # likewise, at the end
    search.freeze_paths = 0.7  # share of the search after which paths stay and only widths move (ours)
    return search


def _latency() -> ml_collections.ConfigDict:
    latency, default = ml_collections.ConfigDict(), LatencySpec()
    latency.device = default.device  # whose milliseconds count, see rtseg_jax/latency
    latency.threads = default.threads  # threads of the runtime
    latency.precision = (
        default.precision  # of the files that ship: float32, fp16, dynamic, int8 or int8_float_attention (ours)
    )
    latency.predictor = ""  # a recorded predictor.json; empty: this run measures its own
    latency.target_ms = 0.0  # latency target, milliseconds; 0: use target_fraction
    latency.target_fraction = default.target_fraction  # target as a share of the supernet's latency
    latency.num_blocks = default.num_blocks  # blocks that the sweep measures
    latency.num_networks = default.num_networks  # whole networks that the sweep measures
    latency.num_unseen = default.num_unseen  # whole networks that the predictor is judged by
    latency.runs = default.runs  # timed runs of each network; what is taken of them: docs/latency.md, Devices
    return latency


def run_spec(config: ml_collections.ConfigDict, info: DatasetInfo | None = None) -> RunSpec:
    """Checks a config and freezes it; raises `UserError` on values that cannot work.

    `info` are the classes where they are known already: those of `folder` stand in its files, which may be elsewhere.
    """
    train = TrainSpec(seed=config.seed, batch_size=config.batch_size, **config.train)
    data = data_spec(config)
    check_sampling(data.train_size, data.eval_size)
    info = info or dataset_info(data)
    _check_teaching(config)
    _check_class_weights(config, info)
    if config.search.rule == "published" and config.loss.beta <= 0:
        by_hand = config.search.width_rate > 0 and config.search.path_rate > 0
        if not (config.search.literal and by_hand):
            raise UserError(
                f"config.loss.beta is {config.loss.beta}: a search without a latency term needs config.search.literal, "
                "width_rate and path_rate set; else give β a value above 0"
            )
    network = _network_spec(config, info.num_classes)
    if config.loss.detail > 0:
        with_detail_head(declare(network), config.loss.detail_at)  # refuses a block that is not there
    phases = _phases(config)
    if "search" in phases and config.search.rule != "published":
        _check_rounds(config)
    if "uniform" in phases:
        _check_yardstick(config, network)
    _check_rounding(config, train, phases)
    return RunSpec(
        phases=phases,
        init_from=config.init_from or None,
        network=network,
        data=data,
        info=info,
        train=train,
        loss=_loss_spec(config),
        search=SearchSpec(**config.search),
        latency=_latency_spec(config),
        predictor=config.latency.predictor or None,
        budget=Budget.parse(config.budget) if config.budget else None,
        mesh=MeshSpec(**config.mesh),
        profile_steps=_profile_steps(config.profile_steps),
    )


def _check_teaching(config: ml_collections.ConfigDict) -> None:
    """λ without a teacher is the supernet's."""
    if config.loss.teacher or config.loss.lam <= 0:
        return
    if config.model != SUPERNET:
        raise UserError(
            f"config.loss.lam is {config.loss.lam}: {config.model} has no supernet to learn from; name who teaches it "
            "with config.loss.teacher"
        )
    if config.search.rule != "published":
        raise UserError(
            f"config.loss.lam is {config.loss.lam}: a supernet that is trained for a tenth of the steps is no teacher; "
            'name one with config.loss.teacher, set it to 0, or config.search.rule to "published"'
        )


def _check_class_weights(config: ml_collections.ConfigDict, info: DatasetInfo) -> None:
    if (given := len(config.loss.class_weights)) not in (0, info.num_classes):
        raise UserError(
            f"config.loss.class_weights has {given} weights, the data set has {info.num_classes} classes "
            f"({', '.join(info.class_names[:3])}, …); give one for each, in their order, or () for none"
        )


def _loss_spec(config: ml_collections.ConfigDict) -> LossSpec:
    values: dict[str, Any] = dict(config.loss)
    values["class_weights"] = tuple(values["class_weights"]) or None
    values["teacher"] = values["teacher"] or None
    return LossSpec(**values)


def _profile_steps(steps: Sequence[int]) -> tuple[int, int] | None:
    if not steps:
        return None
    if len(steps) != 2 or not 1 <= steps[0] <= steps[1]:
        raise UserError(
            f"config.profile_steps is {tuple(steps)}: it must be the first and the last step to trace, as (10, 15)"
        )
    return (steps[0], steps[1])


def _check_rounds(config: ml_collections.ConfigDict) -> None:
    steps, rounds = config.train.search_steps, config.search.rounds
    if rounds >= 1 and (steps < 1 or steps % rounds):  # fewer than one: `SearchSpec` says so
        raise UserError(
            f"config.train.search_steps is {steps}, which {rounds} rounds cannot share (config.search.rounds); use a "
            f"multiple of {rounds}"
        )


def _check_rounding(config: ml_collections.ConfigDict, train: TrainSpec, phases: tuple[str, ...]) -> None:
    if not train.rounded_steps:
        return
    if config.latency.precision not in INTEGERS:
        raise UserError(
            f"config.train.rounded_steps is {train.rounded_steps}, but no integers ship: "
            f"config.latency.precision is {config.latency.precision!r}; set it to {' or '.join(INTEGERS)}"
        )
    for phase in (phase for phase in ROUNDED if phase in phases):
        if train.rounded_steps > train.steps(phase):
            raise UserError(
                f"config.train.rounded_steps is {train.rounded_steps}: the phase {phase!r} has {train.steps(phase)} "
                "steps, and so many of them at most can be rounded"
            )


def _check_yardstick(config: ml_collections.ConfigDict, network: NetworkSpec) -> None:
    path = FORMS.get(config.search.yardstick, (MIXED, 1.0))[0]
    for mixed in declare(network).mixed_blocks:
        if path not in (*mixed.choices, MIXED):
            raise UserError(
                f"config.search.yardstick is {config.search.yardstick!r}, whose operator {path!r} is not among "
                f"config.network.candidates, {', '.join(mixed.choices[1:])}; name another form"
            )


def _phases(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    known = phases_of(config.model)
    for phase in config.phases:
        if phase not in known:
            raise UserError(
                f"config.phases names {phase!r}; phases of config.model={config.model} are {', '.join(known)}"
            )
    return tuple(config.phases) or known


def _network_spec(config: ml_collections.ConfigDict, num_classes: int) -> NetworkSpec:
    fields = config.network if config.model == SUPERNET else {}
    return network_class(config.model)(num_classes=num_classes, **fields)


def check_sampling(train_size: tuple[int, int], eval_size: tuple[int, int]) -> None:
    """Raises `UserError` where the two sizes would be sampled differently by stride-2 layers.

    `SAME` padding starts a stride-2 layer on the second pixel of an even side and on the first of an odd one. A network
    trained on one and run on the other loses up to half its mIoU (measured: 48 % at 352×480, 26 % at 360×480, both
    trained at 224×320).
    """
    for side, trained, used in zip(("height", "width"), train_size, eval_size, strict=True):
        fitting = nearest_sampled_alike(trained, used)
        if fitting != trained:
            raise UserError(
                f"config.data: train_size has {side} {trained}, eval_size {used}: stride-2 layers sample them "
                "differently and the trained network would not work at eval_size; with this eval_size, "
                f"train at {side} {fitting}"
            )


def nearest_sampled_alike(side: int, like: int) -> int:
    """The side nearest to `side` that stride-2 layers sample as they sample `like`; `side` itself if they do."""
    return min(range(1, 2 * max(side, like)), key=lambda x: (_parities(x) != _parities(like), abs(x - side)))


def _parities(side: int) -> tuple[int, ...]:
    """Whether a side is odd at every resolution that a stride-2 layer reads."""
    return tuple(-(-side // stride) % 2 for stride in (1, 2, 4, 8, 16))


def data_spec(config: ml_collections.ConfigDict) -> DataSpec:
    """The part of a config that names the data."""
    values: dict[str, Any] = dict(config.data)
    for name in ("base_size", "scale_range"):
        values[name] = tuple(values[name]) if any(values[name]) else None
    values["data_dir"] = values["data_dir"] or None
    values["classes"] = tuple(values["classes"])
    return DataSpec(seed=config.seed, **values)


def _latency_spec(config: ml_collections.ConfigDict) -> LatencySpec:
    values: dict[str, Any] = dict(config.latency)
    del values["predictor"]
    values["target_ms"] = values["target_ms"] or None
    check_device(values["device"])
    check_precision(values["device"], values["precision"])
    return LatencySpec(image_size=tuple(config.data.eval_size), seed=config.seed, converter=config.converter, **values)


def unknown_field(arguments: Sequence[str]) -> str | None:
    """What to say of the first `--config.FIELD` that does not exist: the nearest one that does; None if all exist."""
    known = list(field_names(base_config()))
    for argument in arguments:
        field = argument.removeprefix("--config.").split("=")[0]
        if argument.startswith("--config.") and field not in known:
            (nearest,) = difflib.get_close_matches(field, known, n=1, cutoff=0.0)
            return f"there is no field --config.{field}; the nearest is --config.{nearest}"
    return None


def field_names(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[str]:
    """Dotted names of all fields."""
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            yield from field_names(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
