"""A lint before running: what is wrong with a model and its guide, where, and what to write instead.

Both are run once, on copies of the parameters and of the random state, and whatever goes wrong becomes a finding.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppl.checks import check_shapes
from ppl.drawing import draw
from ppl.handlers import block, replay, trace
from ppl.messages import align, call_text, did_you_mean, family, shape_of
from ppl.params import ParamStore, get_param_store
from ppl.runtime import Site
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
    """

    findings: list[Finding]
    model: Trace
    guide: Trace | None = None

    @property
    def estimators(self) -> dict[str, str]:
        """How the gradient through each latent site of the guide is estimated."""
        return {name: _estimator(site) for name, site in _latent(self.guide or Trace()).items()}

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
        lines += [f"{kind}: {message}\n    {fix}" for kind, _, message, fix in self.findings]
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
        drawn = Trace() if guide is None else _run(_follow(guide, trace=Trace()), "guide", found, args, kwargs)
        ran = _run(_follow(model, trace=drawn), "model", found, args, kwargs)
        if guide is not None:
            found += _unmatched(ran, drawn) if all(finding.kind == "condition" for finding in found) else ()
            found += _differences(ran, drawn)
        settled = {finding.site for finding in found if finding.kind in _DIFFER}
        found += (*_scores(drawn, settled), *_scores(ran, settled), *_without_baseline(drawn))
        if not {"error", *_DIFFER} & {finding.kind for finding in found}:
            found += _without_gradient(store, ran, drawn)
    return Report(found, ran.detach(), None if guide is None else drawn.detach())


# Running, and leaving everything as it was


@contextmanager
def _aside() -> Iterator[ParamStore]:
    """Run what is inside on copies: of the ambient store, of the random state, of the buffers of the modules called."""
    known, here = get_param_store(), threading.get_ident()
    store = known.bind({name: leaf.detach().clone().requires_grad_() for name, leaf in known.leaves.items()})
    kept: list[tuple[dict[str, Any], str, Tensor, Tensor]] = []

    def keep(module: nn.Module, inputs: Any) -> None:  # torch calls it before every module of the process
        held = module._buffers if threading.get_ident() == here else {}
        kept.extend((module._buffers, name, own, own.clone()) for name, own in held.items() if own is not None)

    hook = nn.modules.module.register_module_forward_pre_hook(keep)
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices), block(), store, validating(True), torch.enable_grad():
            torch.manual_seed(0)
            yield store
    finally:
        hook.remove()
        for buffers, name, own, value in reversed(kept):  # what they were before the first call comes last
            buffers[name] = own
            own.data.copy_(value)


def _run(program: Callable[..., Any], which: str, found: list[Finding], args: Any, kwargs: Any) -> Trace:
    """The trace of the program, as far as it came."""
    recorded = Trace()
    try:
        with trace() as recorded:
            program(*args, **kwargs)
    except Exception as error:
        message, fix = _split(str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}")
        where = re.search('(?:site|plate|param) "([^"]+)"', "\n".join([message, *getattr(error, "__notes__", ())]))
        # a handler around the program says so when the run is over, and nothing of the run is lacking
        kind = "condition" if re.match("(condition|do|substitute): no ", message) else "error"
        found.append(Finding(kind, where[1] if where else which, message, fix))
    return recorded


def _split(text: str) -> tuple[str, str]:
    """The message of an error, and its advice."""
    message, *advice = re.split(r"[.;]?\s+(?=Try |Either |did you mean )", text, maxsplit=1)
    return message, advice[0][0].upper() + advice[0][1:] if advice else "Try the program alone, to see where."


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


def _latent(run: Trace) -> dict[str, Site]:
    return {name: run[name] for name in run.stochastic_nodes}


def _unmatched(model: Trace, guide: Trace) -> Iterator[Finding]:
    ours, theirs = _latent(model), _latent(guide)
    for name, site in ours.items():
        if name not in theirs and not site.infer.get("enumerate"):
            close = did_you_mean(name, theirs.keys() - ours)
            fix = f'Try sample("{name}", ...) in the guide, or obs=... in the model.'
            yield Finding("missing", name, f'site "{name}" is latent in the model, and the guide has none{close}', fix)
    for name, site in theirs.items():
        if name not in ours and not site.infer.get("is_auxiliary"):
            has = "does not draw it." if name in model else f"has none{did_you_mean(name, ours.keys() - theirs)}"
            fix = 'Try leaving it out of the guide, or infer={"is_auxiliary": True} if it is meant to be there alone.'
            yield Finding("unknown", name, f'site "{name}" is latent in the guide, and the model {has}', fix)


def _differences(model: Trace, guide: Trace) -> Iterator[Finding]:
    """Of the sites that both have, the first difference that applies."""
    theirs = _latent(guide)
    for name, ours in _latent(model).items():
        for kind, difference in _DIFFER.items():
            told = difference(ours, theirs[name]) if name in theirs else None
            if told is not None:
                yield Finding(kind, name, f'site "{name}": {told[0]}.', f"Try {told[1]}.")
                break


def _subsample(ours: Site, theirs: Site) -> tuple[str, str] | None:
    model, guide = ({f.name: f for f in site.cond_indep_stack if f.size != f.full_size} for site in (ours, theirs))
    for plate, frame in (guide | model).items():
        sizes = [f"{run[plate].size} of {run[plate].full_size}" if plate in run else "none" for run in (model, guide)]
        if sizes[0] != sizes[1]:
            fix = f'plate("{plate}", {frame.full_size}, subsample_size={frame.size}) around it in both'
            return (
                f'the minibatch of plate "{plate}" around it is {sizes[0]} in the model, {sizes[1]} in the guide',
                fix,
            )
    return None


def _shape(ours: Site, theirs: Site) -> tuple[str, str] | None:
    batch, event = tuple(ours.fn.batch_shape), tuple(ours.fn.event_shape)
    found = tuple(theirs.fn.batch_shape), tuple(theirs.fn.event_shape)
    if found == (batch, event):
        return None
    message = f"batch shape {batch} and event shape {event} in the model, {found[0]} and {found[1]} in the guide"
    return (
        message,
        f"the same plates and parameters of shape {batch + event}, with .to_event({len(event)}), in the guide",
    )


def _support(ours: Site, theirs: Site) -> tuple[str, str] | None:
    p, q, points = ours.fn, theirs.fn, [theirs.value]
    with suppress(NotImplementedError):  # points all over the support, where it is an image of unconstrained space
        into = transform_to(q.support)
        shape = into.inverse_shape(theirs.value.shape)
        points += [into(theirs.value.new_full(shape, place)) for place in (-8.0, -1.0, 1.0, 8.0)]
    if p.support == q.support or all(bool(torch.as_tensor(p.support.check(point)).all()) for point in points):
        return None
    fix = f"{call_text(p)} in the guide"
    if not p.support.is_discrete and not q.support.is_discrete:
        fix += f", or TransformedDistribution({call_text(q)}, [biject_to({call_text(p)}.support)])"
    return f"the guide draws from {family(q)} what lies outside the support of {family(p)} in the model", fix


_DIFFER = {"subsample": _subsample, "shape": _shape, "support": _support}


def _scores(run: Trace, settled: set[str]) -> Iterator[Finding]:
    """Log-probabilities that cannot be computed, are not finite, or have dimensions without a plate."""
    for name, site in run.items():
        if site.type != "sample" or name in settled:
            continue
        one = Trace({name: site})
        try:
            one.compute_log_prob()
            check_shapes(one)
        except Exception as error:
            yield Finding("error" if site.log_prob is None else "plate", name, *_split(str(error)))
        if site.log_prob is not None and not bool(site.log_prob.isfinite().all()):
            message = f'site "{name}": log_prob of {family(site.fn)} is {site.log_prob_sum.item()} at the value it has.'
            yield Finding("nonfinite", name, message, "Try a value where the density is positive, or mask the entries.")


def _estimator(site: Site) -> str:
    if site.infer.get("enumerate"):
        return "enumerate"
    asked = str(site.infer.get("estimator") or ("pathwise" if site.fn.has_rsample else "score"))
    baseline = site.infer.get("baseline")
    told = f', baseline "{baseline}"' if isinstance(baseline, str) else ", with a baseline"
    return asked if baseline is None else asked + told


def _without_baseline(guide: Trace) -> Iterator[Finding]:
    for name, site in _latent(guide).items():
        if _estimator(site) == "score" and site.log_prob is not None and site.log_prob.requires_grad:
            message = (
                f'site "{name}": {family(site.fn)} has a score-function estimator of high variance, and no baseline.'
            )
            yield Finding("baseline", name, message, 'Try infer={"baseline": "decaying_average"}.')


def _without_gradient(store: ParamStore, model: Trace, guide: Trace) -> Iterator[Finding]:
    """Parameters that no term of the bound depends on: log densities, their scores, and the paths through the draws."""
    terms = [site.log_prob_sum for run in (model, guide) for site in run.values() if site.type == "sample"]
    scored = [site for site in _latent(guide).values() if _estimator(site).startswith("score")]
    terms += [site.fn.log_prob(site.value.detach()).sum() for site in scored]
    met = {*model.param_nodes, *guide.param_nodes}
    leaves = {name: leaf for name, leaf in store.leaves.items() if name in met and leaf.requires_grad}
    total = sum(terms, start=torch.zeros((), requires_grad=True))
    gradients: Any = torch.autograd.grad(total, list(leaves.values()), allow_unused=True) if leaves else ()
    for name in (name for name, gradient in zip(leaves, gradients, strict=True) if gradient is None):
        message = f'param "{name}" receives no gradient: no log-probability depends on it.'
        fix = "Try using it in a site, without detach() or no_grad(), or leaving it out."
        yield Finding("gradient", name, message, fix)
