"""A lint before running: what is wrong with a model and its guide, where, and what to write instead.

Both are run once, on copies of the parameters and of the random state, and whatever goes wrong becomes a finding.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ppl.checks import check_callable, check_shapes
from ppl.drawing import draw
from ppl.handlers import block, replay, trace
from ppl.messages import align, call_text, did_you_mean, family
from ppl.params import ParamStore, get_param_store
from ppl.runtime import Site
from ppl.trace import Trace
from ppl_dist import transform_to
from ppl_dist.validation import validating

__all__ = ["Finding", "Report", "aside", "check"]


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
        guide: the trace of the guide, detached; empty where none was given.
        estimators: how the gradient through each latent site of the guide is estimated.
    """

    findings: list[Finding]
    model: Trace
    guide: Trace

    estimators: dict[str, str]

    def __bool__(self) -> bool:
        return bool(self.findings)

    def __repr__(self) -> str:
        count = len(self.findings)
        lines = [f"check: {count or 'no'} finding{'' if count == 1 else 's'}"]
        for title, run in (("guide", self.guide), ("model", self.model)):
            lines += [f"{title}:", run.format_shapes()] if run else ()
        rows = [("", *row) for row in self.estimators.items()]
        lines += ["estimators:", *align(rows, "<<<")] if rows else ()
        return "\n".join([*lines, *(f"{kind}: {message}\n    {fix}" for kind, _, message, fix in self.findings)])


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
    | `baseline` | a score-function estimator that is to have no baseline |
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
    check_callable("check", "model", model)
    check_callable("check", "guide", model if guide is None else guide)
    found: list[Finding] = []
    with aside() as store:
        drawn = Trace() if guide is None else _run(guide, "guide", found, args, kwargs)
        ran = _run(_follow(model, trace=_latent(drawn)), "model", found, args, kwargs)
        ours, theirs = _latent(ran), _latent(drawn)
        if guide is not None and all(finding.kind == "condition" for finding in found):
            found += _unmatched(ours, theirs)
        for name in (name for name in ours if name in theirs):
            found += islice(_differences(ours[name], theirs[name]), 1)
        broken = [finding.site for finding in found if finding.kind in ("error", "subsample", "shape", "support")]
        for site in (*drawn.values(), *ran.values()):
            found += _scores(site) if site.type == "sample" and site.name not in broken else ()
        found += _without_baseline(theirs)
        if not broken and all(finding.kind != "error" for finding in found):
            found += _without_gradient(store.leaves, ran, drawn)
    return Report(found, ran.detach(), drawn.detach(), {name: _estimator(site) for name, site in theirs.items()})


# Running, and leaving everything as it was


@contextmanager
def aside() -> Iterator[ParamStore]:
    """Run what is inside on copies: of the ambient store, of the random state, of the buffers of the modules called."""
    known, here = get_param_store(), threading.get_ident()
    store = known.bind({name: leaf.detach().clone().requires_grad_() for name, leaf in known.leaves.items()})

    def keep(module: nn.Module, inputs: Any) -> None:  # torch calls it before every module of the process
        for name, own in module._buffers.items():
            if own is not None and threading.get_ident() == here:
                undo.callback(module._buffers.__setitem__, name, own)
                undo.callback(own.data.copy_, own.clone())

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with ExitStack() as undo, block(), store, validating(True), torch.enable_grad():
        undo.enter_context(torch.random.fork_rng(devices))
        undo.enter_context(nn.modules.module.register_module_forward_pre_hook(keep))
        torch.manual_seed(0)
        yield store


def _run(program: Callable[..., Any], which: str, found: list[Finding], args: Any, kwargs: Any) -> Trace:
    """The trace of the program, as far as it came."""
    try:
        with trace() as recorded:
            program(*args, **kwargs)
    except Exception as error:
        found.append(_caught(error, which))
    return recorded


def _caught(error: Exception, where: str) -> Finding:
    """The message of an error and its advice, about the site that it names."""
    text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    message, *advice = re.split(r"[.;]?\s+(?=Try |Either |did you mean )", text, maxsplit=1)
    fix = advice[0][0].upper() + advice[0][1:] if advice else "Try the program alone, to see where."
    site = re.search('(?:site|plate|param) "([^"]+)"', "\n".join([message, *getattr(error, "__notes__", ())]))
    # a handler around the program says so when the run is over, and nothing of the run is lacking
    kind = "condition" if re.match("(condition|do|substitute): no ", message) else "error"
    return Finding(kind, site[1] if site else where, message, fix)


class _follow(replay):
    """Replay that refuses what is no distribution, though there is a value for the site."""

    def process(self, site: Site) -> None:
        if site.type == "sample" and not hasattr(site.fn, "batch_shape"):
            draw(site.name, site.fn)
        super().process(site)


# What is wrong


def _latent(run: Trace) -> dict[str, Site]:
    return {name: run[name] for name in run.stochastic_nodes}


def _finding(kind: str, name: str, message: str, fix: str) -> Finding:
    return Finding(kind, name, f'site "{name}": {message}', f"Try {fix}.")


def _unmatched(ours: dict[str, Site], theirs: dict[str, Site]) -> Iterator[Finding]:
    for name in [name for name, site in ours.items() if name not in theirs and not site.infer.get("enumerate")]:
        message = f"latent in the model but not in the guide{did_you_mean(name, theirs.keys() - ours)}"
        yield _finding("missing", name, message, f'sample("{name}", ...) in the guide, or obs=... in the model')
    for name in [name for name, site in theirs.items() if name not in ours and not site.infer.get("is_auxiliary")]:
        message = f"latent in the guide but not in the model{did_you_mean(name, ours.keys() - theirs)}"
        yield _finding("unknown", name, message, 'leaving it out of the guide, or infer={"is_auxiliary": True}')


def _differences(ours: Site, theirs: Site) -> Iterator[Finding]:
    """Of a site that both have; where one applies, those after it follow from it."""
    name, p, q, points = ours.name, ours.fn, theirs.fn, [theirs.value]
    cuts = [{f._replace(dim=None) for f in site.cond_indep_stack if f.size != f.full_size} for site in (ours, theirs)]
    for plate, _, size, full in sorted(cuts[0] ^ cuts[1]):
        call = f'plate("{plate}", {full}, subsample_size={size})'
        yield _finding("subsample", name, f"{call} is around it in one program alone.", f"{call} around it in both")
    shapes = [f"batch shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}" for fn in (p, q)]
    if shapes[0] != shapes[1]:
        fix = f"the same plates and shapes of parameters in the guide, with .to_event({len(p.event_shape)})"
        yield _finding("shape", name, f"{shapes[0]} in the model, {shapes[1]} in the guide.", fix)
    with suppress(NotImplementedError):  # points all over the support, where it is an image of unconstrained space
        into = transform_to(q.support)
        shape = into.inverse_shape(theirs.value.shape)
        points += [into(theirs.value.new_full(shape, place)) for place in (-8.0, -1.0, 1.0, 8.0)]
    if p.support != q.support and not all(bool(torch.as_tensor(p.support.check(point)).all()) for point in points):
        message = f"the guide draws from {family(q)} what lies outside the support of {family(p)} in the model."
        fix = f"{call_text(p)} in the guide"
        if not p.support.is_discrete and not q.support.is_discrete:
            fix += f", or TransformedDistribution({call_text(q)}, [biject_to({call_text(p)}.support)])"
        yield _finding("support", name, message, fix)


def _scores(site: Site) -> Iterator[Finding]:
    """A log-probability that cannot be computed, is not finite, or has dimensions without a plate."""
    one = Trace({site.name: site})
    try:
        one.compute_log_prob()
        check_shapes(one)
    except Exception as error:
        yield _caught(error, site.name)._replace(kind="error" if site.log_prob is None else "plate", site=site.name)
    if site.log_prob is not None and not bool(site.log_prob.isfinite().all()):
        fix = "a value where the density is positive, or masking the entries"
        yield _finding("nonfinite", site.name, f"log_prob is {site.log_prob_sum.item()} at its value.", fix)


def _estimator(site: Site) -> str:
    default = "enumerate" if site.infer.get("enumerate") else "pathwise" if site.fn.has_rsample else "score"
    asked, baseline = site.infer.get("estimator") or default, site.infer.get("baseline", "chosen at the first step")
    told = f", baseline: {baseline.replace('_', ' ') if isinstance(baseline, str) else 'given'}"
    return f"{asked}{told if asked == 'score' else ' (biased)' * (asked in ('gumbel_softmax', 'straight_through'))}"


def _without_baseline(guide: dict[str, Site]) -> Iterator[Finding]:
    for name, site in guide.items():
        if _estimator(site) == "score, baseline: none" and site.log_prob is not None and site.log_prob.requires_grad:
            message = f"{family(site.fn)} has a score-function estimator of high variance, and no baseline."
            yield _finding("baseline", name, message, 'infer={"baseline": "decaying_average"}')


def _without_gradient(leaves: Mapping[str, Tensor], model: Trace, guide: Trace) -> Iterator[Finding]:
    """Parameters that no log-probability depends on, neither by itself nor through a draw."""
    met = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad and name in {*model, *guide}}
    total = model.log_prob_sum() + guide.log_prob_sum() + torch.zeros((), requires_grad=True)
    gradients: Any = torch.autograd.grad(total, list(met.values()), allow_unused=True) if met else ()
    for name in (name for name, gradient in zip(met, gradients, strict=True) if gradient is None):
        message = f'param "{name}" receives no gradient: no log-probability depends on it.'
        yield Finding("gradient", name, message, "Try using it in a site, without detach() or no_grad().")
