"""How long Hypothesis tries. ``--hypothesis-profile=long`` is for a night, and makes what it finds small."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "model",
    max_examples=15,
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make a failure small takes minutes
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    report_multiple_bugs=False,
)
# A call takes many times as long there.
settings.register_profile("objects", settings.get_profile("model"), max_examples=3)
settings.register_profile("long", settings.get_profile("model"), max_examples=2000, phases=list(Phase))
