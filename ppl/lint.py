"""A lint before running: what is wrong with a model and its guide, where, and what to write instead.

Both are run once, on copies of the parameters and of the random state, and whatever goes wrong becomes a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppl.checks import check_shapes
from ppl.drawing import draw
from ppl.handlers import block, replay, trace
from ppl.messages import align, call_text, did_you_mean, family, shape_of
from ppl.params import ParamStore, get_param_store
from ppl.runtime import Frame, Site
from ppl.trace import Trace
from ppl_dist import transform_to
from ppl_dist.validation import validating

__all__ = ["Finding", "Report", "check"]


class Finding(NamedTuple):
    """One thing that is wrong: its kind, the site it is about, what it is, and what to write instead."""

    kind: str
    site: str
    message: str
    fix: str


@dataclass
class Report:
    """What `check` found; it is true if there is anything, and prints as tables.

    Attributes:
        findings: what is wrong, in program order.
        model: the trace of the model, detached.
        guide: the trace of the guide, detached; None where none was given.
        estimators: how the gradient through each latent site of the guide is estimated.
    """

    findings: list[Finding] = field(default_factory=list)
    model: Trace = field(default_factory=Trace)
    guide: Trace | None = None
    estimators: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __repr__(self) -> str:
        count = len(self.findings)
        lines = [f"check: {count or 'no'} finding{'' if count == 1 else 's'}"]
        for title, run in (("guide", self.guide), ("model", self.model)):
            if run is not None:
                lines += [f"{title}:", run.format_shapes()]
        if self.estimators:
            lines += ["estimators:", *align([("", *row) for row in self.estimators.items()], "<<<")]
        for kind, _, message, fix in self.findings:
            lines.append(f"{kind}: {message}\n    {fix}")
        return "\n".join(lines)


def check(model: Callable[..., Any], guide: Callable[..., Any] | None = None, *args: Any, **kwargs: Any) -> Report:
    """Run guide and model once, and report what would go wrong, or go badly, when their parameters are learned.

    Nothing outside the report changes: parameters are copied, the random state of torch and the buffers of modules are
    put back. Value checks are on. The kinds of findings:

    | kind | what |
    |---|---|
    | `error` | running raised an exception, a name used twice among them |
    | `condition` | `condition`, `do` or `substitute` names no site |
    | `missing`, `unknown` | a latent site that only the model, or only the guide, has |
    | `support`, `shape` | the guide draws what the model's site does not admit |
    | `plate` | a batch dimension that no plate accounts for |
    | `subsample` | model and guide do not share a minibatch |
    | `nonfinite` | a log-probability is infinite or NaN |
    | `baseline` | a score-function estimator without a baseline |
    | `gradient` | a parameter on which no term of the bound depends |

    Args:
        model: the model.
        guide: the guide; None checks the model alone.
        *args: passed to both.
        **kwargs: passed to both.

    >>> import ppl_dist as dist
    >>> from ppl import param, sample
    >>> def model():
    ...     sample("rate", dist.Gamma(2.0, 1.0))
    >>> def guide():
    ...     sample("rate", dist.Normal(param("loc", 1.0), 0.1))
    >>> for finding in check(model, guide).findings:
    ...     print(finding.kind, finding.site)
    support rate
    """
    found: list[Finding] = []
    with _aside() as store:
        drawn = None if guide is None else _run(_follow(guide, trace=Trace()), "guide", found, args, kwargs)
        ran = _run(_follow(model, trace=drawn or Trace()), "model", found, args, kwargs)
        whole = all(finding.kind == "condition" for finding in found)
        if drawn is not None:
            found += _unmatched(ran, drawn) if whole else ()
            found += _differences(ran, drawn)
        settled = {finding.site for finding in found if finding.kind in _DIFFER}
        for run in (drawn or Trace(), ran):
            found += _scores(run, settled)
        found += _without_baseline(drawn or Trace())
        if not {"error", *_DIFFER} & {finding.kind for finding in found}:
            found += _without_gradient(store, ran, drawn or Trace())
    estimators = {} if drawn is None else {name: _estimator(site) for name, site in _latent(drawn).items()}
    return Report(found, ran.detach(), None if drawn is None else drawn.detach(), estimators)


# Running, and leaving everything as it was

_BUFFERS: ContextVar[dict[int, Any] | None] = ContextVar("ppl_lint_buffers", default=None)


@contextmanager
def _aside() -> Iterator[ParamStore]:
    """Run what is inside on copies: of the ambient store, of the random state, of the buffers of the modules called."""
    leaves = get_param_store().leaves.items()
    store = get_param_store().bind({name: leaf.detach().clone().requires_grad_() for name, leaf in leaves})
    buffers: dict[int, Any] = {}
    token = _BUFFERS.set(buffers)
    with ExitStack() as stack:
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        stack.enter_context(torch.random.fork_rng(devices))
        torch.manual_seed(0)
        for context in (block(), store, validating(True), torch.enable_grad()):
            stack.enter_context(context)
        stack.callback(_put_back, buffers)
        stack.callback(_BUFFERS.reset, token)
        stack.callback(nn.modules.module.register_module_forward_pre_hook(_keep_buffers).remove)
        yield store


def _keep_buffers(module: nn.Module, inputs: Any) -> None:
    """Called before every module of the process; only those of this context are ours."""
    buffers = _BUFFERS.get()
    if buffers is not None and id(module) not in buffers:
        kept = {name: (held, held.clone()) for name, held in module._buffers.items() if held is not None}
        buffers[id(module)] = (module, kept)


@torch.no_grad()
def _put_back(buffers: Mapping[int, Any]) -> None:
    for module, kept in buffers.values():
        for name, (held, value) in kept.items():
            module._buffers[name] = held
            held.copy_(value)


def _run(program: Callable[..., Any], which: str, found: list[Finding], args: Any, kwargs: Any) -> Trace:
    """The trace of the program, as far as it came."""
    recorded = Trace()
    try:
        with trace() as recorded:
            program(*args, **kwargs)
    except Exception as error:
        message, fix = _split(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        notes = "\n".join([message, *getattr(error, "__notes__", ())])
        where = re.search('(?:site|plate|param|parameter) "([^"]+)"', notes)
        # a handler around the program says so when the run is over, and nothing of the run is lacking
        unmatched = re.match("(condition|do|substitute): no ", message)
        found.append(Finding("condition" if unmatched else "error", where[1] if where else which, message, fix))
    return recorded


def _split(text: str) -> tuple[str, str]:
    """The message of an error, and its advice."""
    found = re.search(r"[.;]?\s+(Try|Either|did you mean) ", text)
    if found is None:
        return text, "Try the program alone, to see where."
    return text[: found.start()], text[found.start(1)].upper() + text[found.start(1) + 1 :]


class _follow(replay):
    """Replay that leaves a minibatch to the model where the guide has none of its size: that is a finding."""

    def process(self, site: Site) -> None:
        if site.type == "subsample":
            earlier = self.trace.get(site.name)
            if earlier is None or (earlier.type, shape_of(earlier.value)) != ("subsample", site.fn.event_shape):
                return
        elif site.type == "sample" and not hasattr(site.fn, "batch_shape"):
            draw(site.name, site.fn)  # says that it is no distribution, though there is a value to replay
        super().process(site)


# What is wrong

_DIFFER = ("shape", "subsample", "support")


def _latent(run: Trace) -> dict[str, Site]:
    return {name: run[name] for name in run.stochastic_nodes}


def _unmatched(model: Trace, guide: Trace) -> Iterator[Finding]:
    ours, theirs = _latent(model), _latent(guide)
    for name, site in ours.items():
        if name not in theirs and not site.infer.get("enumerate"):
            close = did_you_mean(name, [other for other in theirs if other not in ours])
            message = f'site "{name}" is latent in the model, and the guide does not draw it{close}'
            yield Finding("missing", name, message, f'Try sample("{name}", ...) in the guide, or obs=... in the model.')
    for name, site in theirs.items():
        if name not in ours and not site.infer.get("is_auxiliary"):
            has = (
                f"has it as a site of type {model[name].type}, with its value" if name in model else "has no such site"
            )
            close = did_you_mean(name, [other for other in ours if other not in theirs])
            message = f'site "{name}" is latent in the guide, and the model {has}{close}'
            fix = 'Try leaving it out of the guide, or infer={"is_auxiliary": True} if it is meant to be there alone.'
            yield Finding("unknown", name, message, fix)


def _differences(model: Trace, guide: Trace) -> Iterator[Finding]:
    """Of the sites that both have: other minibatches, other shapes, other supports; the first that applies."""
    theirs = _latent(guide)
    for name, ours in _latent(model).items():
        if name in theirs:
            other = theirs[name]
            finding = _minibatch(name, ours, other) or _shape(name, ours, other) or _support(name, ours, other)
            if finding is not None:
                yield finding


def _minibatch(name: str, ours: Site, theirs: Site) -> Finding | None:
    model, guide = (
        {frame.name: frame for frame in site.cond_indep_stack if frame.size != frame.full_size}
        for site in (ours, theirs)
    )
    for plate in [*model, *guide]:
        one, two = model.get(plate), guide.get(plate)
        if one is None or two is None or one[2:] != two[2:]:
            message = (
                f'site "{name}": plate "{plate}" has {_batch(one)} around it in the model, {_batch(two)} in the guide'
            )
            frame, where = (one, "guide") if one is not None else (two, "model")
            assert frame is not None
            fix = f'Try plate("{plate}", {frame.full_size}, subsample_size={frame.size}) around it in the {where}.'
            return Finding("subsample", name, f"{message}.", fix)
    return None


def _batch(frame: Frame | None) -> str:
    return "no minibatch" if frame is None else f"a minibatch of {frame.size} of {frame.full_size}"


def _shape(name: str, ours: Site, theirs: Site) -> Finding | None:
    (batch, event), (q_batch, q_event) = ((tuple(s.fn.batch_shape), tuple(s.fn.event_shape)) for s in (ours, theirs))
    if event == q_event and _without_ones(batch) == _without_ones(q_batch):
        return None
    message = (
        f'site "{name}": the guide has batch shape {q_batch} and event shape {q_event}, '
        f"the model batch shape {batch} and event shape {event}."
    )
    dims = f", .to_event({len(event)})" if event else ""
    return Finding(
        "shape", name, message, f"Try parameters of shape {batch + event}{dims} in the guide, in the same plates."
    )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without the leading ones, which broadcasting adds as it needs them."""
    return next((shape[i:] for i, size in enumerate(shape) if size != 1), ())


def _support(name: str, ours: Site, theirs: Site) -> Finding | None:
    p, q = ours.fn, theirs.fn
    if p.support == q.support or all(bool(torch.as_tensor(p.support.check(point)).all()) for point in _points(theirs)):
        return None
    message = (
        f'site "{name}": the guide draws from {family(q)} what the support of {family(p)} in the model does not admit.'
    )
    fix = f"Try {call_text(p)} in the guide"
    if not p.support.is_discrete and not q.support.is_discrete:
        fix += f", or TransformedDistribution({call_text(q)}, [biject_to({call_text(p)}.support)])"
    return Finding("support", name, message, f"{fix}.")


def _points(site: Site) -> Iterator[Tensor]:
    """The value of the site, and points all over its support, where that is the image of unconstrained space."""
    yield site.value
    try:
        into = transform_to(site.fn.support)
    except NotImplementedError:
        return
    shape = into.inverse_shape(site.value.shape)
    for place in (-8.0, -1.0, 1.0, 8.0):
        yield into(torch.full(shape, place, dtype=site.value.dtype, device=site.value.device))


def _scores(run: Trace, settled: set[str]) -> Iterator[Finding]:
    """Log-probabilities that cannot be computed, are not finite, or have dimensions without a plate."""
    for name, site in run.items():
        if site.type != "sample" or name in settled:
            continue
        try:
            run.compute_log_prob(lambda other, _, name=name: other == name)  # type: ignore[misc]
        except Exception as error:
            yield Finding("error", name, *_split(str(error)))
            continue
        if not bool(site.log_prob.isfinite().all()):
            message = f'site "{name}": log_prob of {family(site.fn)} is {site.log_prob_sum.item()} at the value it has.'
            yield Finding("nonfinite", name, message, "Try a value where the density is positive, or mask the entries.")
        try:
            check_shapes(Trace({name: site}))
        except ValueError as error:
            yield Finding("plate", name, *_split(str(error)))


def _estimator(site: Site) -> str:
    if site.infer.get("enumerate"):
        return "enumerate"
    asked = site.infer.get("estimator") or ("pathwise" if site.fn.has_rsample else "score")
    baseline = site.infer.get("baseline")
    told = f', baseline "{baseline}"' if isinstance(baseline, str) else ", with a baseline" * (baseline is not None)
    return f"{asked}{told}"


def _without_baseline(guide: Trace) -> Iterator[Finding]:
    for name, site in _latent(guide).items():
        if _estimator(site) == "score" and site.log_prob is not None and site.log_prob.requires_grad:
            message = f'site "{name}": {family(site.fn)} has a score-function estimator and no baseline, so its variance is high.'
            yield Finding("baseline", name, message, 'Try infer={"baseline": "decaying_average"}.')


def _without_gradient(store: ParamStore, model: Trace, guide: Trace) -> Iterator[Finding]:
    """Parameters that no term of the bound depends on: log densities, their scores, and the paths through the draws."""
    terms = [site.log_prob_sum for run in (model, guide) for site in run.values() if site.type == "sample"]
    scored = [site for site in _latent(guide).values() if _estimator(site).startswith("score")]
    terms += [site.fn.log_prob(site.value.detach()).sum() for site in scored]
    met = {*model.param_nodes, *guide.param_nodes}
    leaves = {name: leaf for name, leaf in store.leaves.items() if name in met and leaf.requires_grad}
    total = sum((term for term in terms if term.requires_grad), start=torch.zeros(()))
    used = (
        torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        if total.requires_grad
        else [None] * len(leaves)
    )
    for name, gradient in zip(leaves, used, strict=True):
        if gradient is None:
            message = f'param "{name}" receives no gradient: no log-probability depends on it.'
            fix = "Try using it in a site, without detach() or no_grad(), or leaving it out."
            yield Finding("gradient", name, message, fix)
