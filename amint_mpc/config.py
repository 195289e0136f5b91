"""Settings: `Experiment`, agreed by all parties and hashed, and `Party`, local to one machine.

Both are frozen pydantic models that forbid unknown keys. An experiment holds everything that changes a result
or a security claim; a party file holds addresses, paths and performance, which change neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from amint_mpc.errors import UsageError
from amint_mpc.limits import MAX_BETA, MAX_MOMENTUM, MIN_BETA, MIN_MOMENTUM
from amint_mpc.printable import excerpt, shown
from amint_mpc.reading import complain, put, read_mapping

Role = Literal["developer", "auditor", "dealer"]
ROLES: tuple[Role, ...] = ("developer", "auditor", "dealer")
PARTIES: tuple[Role, ...] = ("developer", "auditor")  # of the computation, who sign the log


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Data(_Model):
    """Which images, and how many take which part (see `amint_mpc.data.split`)."""

    dataset: str = "mnist-5k"
    image_size: int | None = Field(None, ge=8, le=512, description="of `folder` alone: pixels a side")
    channels: Literal[1, 3] | None = Field(None, description="of `folder` alone: 1 grey, 3 colour")
    classes: int | None = Field(None, ge=2, le=65536, description="of `folder` alone: how many class folders")
    members: int = Field(1500, ge=4, description="images trained on with their class labels")
    external: int = Field(2500, ge=4, description="images of the same source, labels unused")
    unseen: int = Field(1000, ge=4, description="images that take part in nothing until evaluation")
    duplicates: Literal["keep", "drop"] = Field("keep", description="drop: one copy of each picture takes part")

    @model_validator(mode="after")
    def _folder_says_what_it_holds(self) -> Data:
        """The auditor has no images: it knows a named dataset by its name, a folder by what stands here."""
        stated = {"image_size": self.image_size, "channels": self.channels, "classes": self.classes}
        for key, value in stated.items():
            if self.dataset == "folder" and value is None:
                raise ValueError(f"the dataset folder needs data.{key}, so that every party knows it")
            if self.dataset != "folder" and value is not None:
                raise ValueError(f"data.{key} is for the dataset folder; leave it out")
        return self


class Model(_Model):
    """The developer's classifier and where its activations are tapped."""

    backbone: str = "resnet-mini"
    size: Literal["full", "small"] = Field("full", description="small: fewer blocks and channels (docs/backbones.md)")
    width: int | None = Field(None, ge=1, description="channels of the stem; empty: what is usual for this backbone")
    taps: Literal["entry", "middle", "output"] = "middle"


class Head(_Model):
    """The auditor's membership head: `features -> hidden -> 1` with a ReLU between; `conv`: convolutions before."""

    input: Literal["pooled", "maps", "conv"] = "pooled"
    hidden: int = Field(64, ge=1)
    filters: int = Field(4, ge=1, description="of the convolution on each tapped map; with input: conv alone")
    features: int | None = Field(None, ge=1, description="of an image, where the developer brings a loop of its own")
    learning_rate: float = Field(0.05, gt=0, lt=1, description="with novograd the usual length of a layer's step")
    optimizer: Literal["sgd", "momentum", "novograd"] = "sgd"
    momentum: float = Field(0.9, ge=MIN_MOMENTUM, le=MAX_MOMENTUM, description="of `momentum` alone; rounded to 1/128")
    beta2: float = Field(
        0.95, ge=MIN_BETA, le=MAX_BETA, description="of `novograd` alone: what stays of the second moment"
    )


class Training(_Model):
    """The joint objective and its schedule (aMINT, arXiv 2509.07879, section 3).

    In sealed epochs the classifier is frozen and the auditor trains a fresh head, of which no gradient is opened; with
    0 of them the joint head is kept, which the developer can rebuild from its gradients.
    """

    epochs: int = Field(25, ge=1, description="epochs of the joint loss, after the warm-up")
    warmup_epochs: int = Field(8, ge=0, description="epochs on the task alone; the head takes no step in them")
    sealed_epochs: int = Field(14, ge=0, description="then, of a fresh head that is kept; 0: the joint one is")
    sealed_batch: int = Field(64, ge=1, description="members in a sealed step; as many external images go with them")
    sealed_learning_rate: float | None = Field(None, gt=0, lt=1, description="of the head then; empty: the usual one")
    sealed_mixing: float = Field(0.625, ge=0, le=1, description="how far external images are moved to members then")
    batch: int = Field(64, ge=1, description="members in a step; as many external images go with them")
    learning_rate: float = Field(1e-3, gt=0, description="Adam, for the classifier")
    cooldown: float = Field(0.0, ge=0, le=1, description="last share of the joint steps, in which that rate falls to 0")
    mint_weight: float = Field(1.0, ge=0)
    distillation: float = Field(0.0, ge=0, description="weight of the warm teacher's soft labels on external images")
    evaluate_every: int = Field(5, ge=0, description="epochs between scores of the calibration images; 0: never")
    patience: int = Field(
        0, ge=0, description="stop, and go back to the best, after so many evaluations without a better one; 0: never"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="of the classifier's layers (automatic mixed precision); features stay float32"
    )

    @model_validator(mode="after")
    def _teacher_needs_warmup(self) -> Training:
        if self.distillation > 0 and self.warmup_epochs == 0:
            raise ValueError("distillation needs a teacher: set warmup_epochs to at least 1")
        return self

    @model_validator(mode="after")
    def _patience_needs_evaluations(self) -> Training:
        if self.patience and not self.evaluate_every:
            raise ValueError("patience counts evaluations: set evaluate_every to at least 1, or patience to 0")
        return self


class Security(_Model):
    """Everything a security claim rests on.

    `correlations` says who makes the correlated randomness: the two parties themselves, from homomorphic encryption and
    oblivious transfer (`two-party`); a third party (`dealer`); or, for trials only, the auditor alone
    (`insecure-embedded-dealer`), which then could read every value the developer shares. `link` is the kind of network
    that `two-party` fits its messages to.
    `required_code` and `required_image` hold every party to software with one of these digests, by its own word
    (`amint_mpc.evidence.software_digests`); empty: any.
    `gradient_noise` and `gradient_bits` say how much of the joint head's gradient the developer is told, of the sum
    over a batch's rows, whose entries are below 32. `checked_blocks`: see `amint_mpc.mpc.correlations.checking`.
    """

    correlations: Literal["two-party", "dealer", "insecure-embedded-dealer"] = "two-party"
    link: Literal["lan", "wan"] = Field("lan", description="wan: the parties are far apart; with two-party alone")
    checked_blocks: float = Field(0.05, ge=0, le=1, description="further blocks of the dealer, checked and not used")
    gradient_noise: float = Field(0.0, ge=0, le=8, description="standard deviation of the auditor's noise on an entry")
    gradient_bits: Literal[16, 32] = Field(32, description="bits of an entry that are opened: 10 or 26 after the point")
    required_code: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = Field((), max_length=16)
    required_image: tuple[Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")], ...] = Field((), max_length=16)

    @property
    def tells_less(self) -> bool:
        """True where the developer is told less of a gradient than the secure head could tell it."""
        return self.gradient_noise > 0 or self.gradient_bits != 32


class Disclosure(_Model):
    """Which of the auditor's figures the developer is told."""

    epoch_figures: bool = False
    final_figures: bool = True


class Evidence(_Model):
    """What the parties keep to show afterwards what was done (docs/evidence.md)."""

    log: bool = Field(True, description="a log of every step, the same at both, signed by developer and auditor")
    replay: bool = Field(
        False,
        description="the developer keeps checkpoints and all that came for the head, so that steps can be done again",
    )
    max_queries: int = Field(
        10_000, ge=0, le=10**7, description="images that may be queried after the run, in all; both parties count"
    )


class Experiment(_Model):
    """All that the parties agree on. Its digest is compared before anything else happens."""

    name: str = Field("quickstart", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    seed: int = Field(1, ge=0, lt=2**31)
    data: Data = Data()
    model: Model = Model()
    head: Head = Head()
    training: Training = Training()
    security: Security = Security()
    disclosure: Disclosure = Disclosure()
    evidence: Evidence = Evidence()

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch: warm-up, joint and sealed epochs, counted from 1."""
        return self.training.warmup_epochs + self.training.epochs + self.training.sealed_epochs

    @property
    def method(self) -> str:
        """`amint`, or `task` without a head; `-kd` is added with distillation, so that the two never share a table."""
        kind = "amint" if self.training.mint_weight > 0 else "task"
        return f"{kind}-kd" if self.training.distillation > 0 else kind

    @property
    def insecure(self) -> bool:
        """True when the settings give up a security claim; every screen and file then says so."""
        return self.security.correlations == "insecure-embedded-dealer"

    @property
    def two_party(self) -> bool:  # developer and auditor make their masks themselves
        return self.security.correlations == "two-party"

    @property
    def roles(self) -> tuple[Role, ...]:
        """Who takes part in a run."""
        return ROLES if self.security.correlations == "dealer" else PARTIES

    @property
    def head_engine(self) -> str:
        """What the secure head is computed with."""
        return "CrypTen"

    @property
    def steps_per_epoch(self) -> int:
        return self.data.members // self.training.batch

    @property
    def sealed_batch(self) -> int:  # what the settings say, or all that there are
        return min(self.training.sealed_batch, self.data.members, self.data.external)

    @property
    def sealed_steps(self) -> int:
        """Sealed steps of the whole run."""
        return self.training.sealed_epochs * (self.data.members // self.sealed_batch)

    def digest(self) -> str:
        """SHA-256 (hex) of the canonical JSON: sorted keys, no spaces, UTF-8."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @model_validator(mode="after")
    def _fits_together(self) -> Experiment:
        if self.head.input == "conv" and self.head.optimizer != "sgd":
            raise ValueError("head.optimizer is sgd where head.input is conv")
        if self.head.input == "conv" and self.security.tells_less:
            raise ValueError("security.gradient_noise and gradient_bits are for head.input pooled or maps")
        if self.head.features is not None and self.head.input == "conv":
            raise ValueError("head.input conv takes the maps of this program's own backbones: leave head.features out")
        if self.evidence.replay and (not self.evidence.log or self.training.patience):
            raise ValueError("evidence.replay needs evidence.log, and no training.patience, which goes back in time")
        if self.evidence.replay and self.training.precision == "float16":
            raise ValueError("evidence.replay does not keep float16's scale of the loss: take float32 or bfloat16")
        if self.training.batch > min(self.data.members, self.data.external):
            raise ValueError("training.batch must not exceed data.members or data.external")
        return self


class Address(_Model):
    """Where a process listens or connects."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Party(_Model):
    """One machine's own settings: never sent, never hashed, never part of a result.

    Paths are relative to the folder of the party file.
    """

    role: Role
    listen: Address | None = None
    auditor: Address | None = None
    dealer: Address | None = None
    keys: Path = Path("keys")
    data: Path | None = None
    runs: Path = Path("runs")
    device: str = "auto"
    threads: int = Field(0, ge=0, description="threads of torch; 0: leave as it is")
    overlap: bool = Field(True, description="train the classifier on while the head computes; changes no result")
    connect_timeout_s: float = Field(60.0, gt=0, description="one machine needs no more; parties/ has 600 for people")
    idle_timeout_s: float = Field(300.0, gt=0, description="a peer silent for so long is lost")
    dealer_memory_mb: float = Field(256.0, gt=0, description="randomness of a dealer kept ready ahead of use")
    ahead_mb: float = Field(128.0, gt=0, description="the same of randomness that the two parties make themselves")
    generator_threads: int = Field(2, ge=1, le=64, description="threads that make it; the fewer of both parties counts")


LOOPBACK: dict[Role, dict[str, Any]] = {
    "developer": {"auditor": {"port": 7801}, "dealer": {"port": 7802}},
    "auditor": {"listen": {"port": 7801}, "dealer": {"port": 7802}},
    "dealer": {"listen": {"port": 7802}},
}
"""What a party file says when there is none: all three on this machine."""


STUDY = "study-"


def list_experiments() -> dict[str, Path]:
    """The experiments that come with the program, by name."""
    return {name: path for name, path in _shipped().items() if not name.startswith(STUDY)}


def list_studies() -> dict[str, Path]:
    """The studies that come with the program, by name (`amint_mpc.study`): their files are named study-*.yaml."""
    return {name: path for name, path in _shipped().items() if name.startswith(STUDY)}


def _shipped() -> dict[str, Path]:
    """All files of configs/, of the wheel or of the checkout."""
    return {path.stem: path for path in sorted(experiments_folder().glob("*.yaml"))}


def experiments_folder() -> Path:
    """configs/, of the wheel or of the checkout."""
    package = Path(str(resources.files("amint_mpc")))
    folder = package / "configs"
    # Beside an installed package `configs` is CrypTen's, so the checkout must be known for one by its project file.
    if not folder.is_dir() and (package.parent / "pyproject.toml").is_file():
        return package.parent / "configs"
    return folder


def load_experiment(source: str | Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from a file, or from one that comes with the program by its name.

    Args:
        source: a path (it ends in .yaml or .yml, or has a folder), a name, or None for `quickstart`.
        overrides: `a.b=value`, applied in order; one alone may be a string.

    Raises:
        UsageError: no such file or name, malformed YAML, an unknown key, a value that is not allowed.
    """
    overrides = [overrides] if isinstance(overrides, str) else overrides
    named = str(source) if source is not None else "quickstart"
    values = read_mapping(_find(named))
    if "grid" in values:
        raise UsageError(f"{named} is a study, not an experiment", f"Run amint-mpc study --config {named}")
    for assignment in overrides:
        put(values, assignment)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        raise complain(error, Experiment, named + (" with --set" if overrides else "")) from None


def is_study(source: str) -> bool:
    """Whether a name or file is a study: its file has a grid. Raises: UsageError: it cannot be read."""
    return "grid" in read_mapping(_find(source))


def _find(source: str) -> Path:
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return path
    known = list_experiments()
    if source in list_studies():
        return list_studies()[source]
    if source not in known:
        raise UsageError(f"there is no experiment {shown(source)}", "Known experiments: " + ", ".join(known))
    return known[source]


def party_file(role: Role) -> Path | None:
    """The file used where none is named: parties/ROLE/party.yaml; else ./party.yaml, if its role is this one.

    The second is the copied folder parties/ROLE on a machine of its own.

    Raises:
        UsageError: ./party.yaml cannot be read.
    """
    usual, here = _usual_file(role), Path("party.yaml")
    if usual.is_file():
        return usual
    return here if here.is_file() and read_mapping(here).get("role") == role else None


def _usual_file(role: Role) -> Path:
    return Path("parties") / role / "party.yaml"


def load_party(path: Path | None, role: Role, data: Path | None = None) -> Party:
    """One machine's settings; paths in it become absolute, counted from the folder of the file.

    Args:
        path: the party file; None: the one that `party_file` finds, or, where there is none, the loopback addresses,
            with parties/ROLE as the folder of keys and runs.
        data: where image files lie, instead of what the file says.

    Raises:
        UsageError: as `load_experiment`; also when the file is another role's.
    """
    found = path or party_file(role)
    file = found or _usual_file(role)
    values = read_mapping(found) if found else dict(LOOPBACK[role])
    if values.setdefault("role", role) != role:
        named = values["role"]
        hint = f"Pass --role {named}" if named in ROLES else f"Write role: {role}, or take the file out"
        raise UsageError(f"{file} is for the {excerpt(str(named))}, not for the {role}", hint)
    try:
        party = Party.model_validate(values)
    except ValidationError as error:
        raise complain(error, Party, str(file)) from None
    base = file.parent.resolve()
    paths = {"keys": base / party.keys, "runs": base / party.runs, "data": data or (party.data and base / party.data)}
    return party.model_copy(update=paths)
