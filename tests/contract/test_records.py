"""A method's record is the one place: help, ``--then``, library, JSON and checks follow from it."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass

import optax
import pytest
from typer.testing import CliRunner

import subspace
from subspace.config.phase import Phase, default_of, fields_of_phase
from subspace.config.run import RunConfig
from subspace.errors import InvalidInput
from subspace.methods import METHODS, Method, register
from subspace.optim.in_subspace import chain
from subspace.options import check_value, fields_of, option, read
from subspace.store.tuned import settings
from subspace_cli.main import app  # pyright: ignore[reportMissingImports]
from subspace_cli.options import declared_fields, help_of  # pyright: ignore[reportMissingImports]
from subspace_cli.then import read_phase  # pyright: ignore[reportMissingImports]

FUNCTIONS = {
    "rbd": [subspace.rbd],
    "fpd": [subspace.fpd],
    "nes": [subspace.nes],
    "rbd_in_law": [subspace.rbd_in_law],
    "sgd": [subspace.sgd],
    "psgd": [subspace.p_sgd],
    "pbfgs": [subspace.p_bfgs, subspace.p_plus_bfgs],
    "newton": [subspace.p_newton],
    "hylo": [subspace.hylo],
    "sngd": [subspace.sngd],
    "kfac": [subspace.kfac],
}
FIELDS = [(name, field) for name, method in METHODS.items() for field in fields_of_phase(method)]


def resolved(method, **given):
    """A phase with its defaults, on a trajectory where it needs one."""
    return Phase.resolve({"method": method, **given}, model="fc", dataset="mnist")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_help_configuration_and_library_agree(name, field):
    method = METHODS[name]
    declared, default = fields_of_phase(method)[field], default_of(method, field)
    if default is not None:
        assert resolved(name).values[field] == default
    said = help_of(field, declared_fields()[field])
    assert declared.option.help.rstrip(".") in said
    if declared.option.shown is None:
        assert _in_words(default) in said
    for function in FUNCTIONS.get(name, []):
        parameters = inspect.signature(function).parameters
        if field in fields_of(method) and not declared.option.by_run and field in parameters:
            assert parameters[field].default == default
            assert f"{field}: {declared.option.help}" in (function.__doc__ or "")
        elif field in fields_of(method):
            assert declared.option.by_run or function is subspace.p_bfgs


def _in_words(default):
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


@pytest.mark.parametrize("name", METHODS)
def test_a_phase_is_what_its_json_says(name):
    phase = resolved(name)
    assert Phase.from_json(json.loads(json.dumps(phase.to_json()))) == phase


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_then_reads_every_key_as_the_command_line_does(name, field):
    declared, value = fields_of_phase(METHODS[name])[field], default_of(METHODS[name], field)
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    if value is None and type(None) not in declared.kinds:
        return
    assert read_phase(f"{name}:{field.replace('_', '-')}={text}")[field] == read(declared, text)
    assert read(declared, text) == value


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_value_out_of_range_is_refused_by_name(name, field):
    declared = fields_of_phase(METHODS[name])[field]
    about, bad = declared.option, []
    if int in declared.kinds:
        bounds = [(about.least, -1), (about.above, 0), (about.below, 0), (about.most, 1)]
        bad += [bound + past for bound, past in bounds if bound is not None]
        bad += [2**31] if declared.is_whole and about.most is None else []
        bad += [] if declared.is_whole else [float("nan"), float("inf")]
    if about.choices is not None:
        bad += ["nothing like it"]
    for value in bad:
        with pytest.raises(InvalidInput) as caught:
            resolved(name, **{field: value})
        assert caught.value.field == field


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_value_of_another_type_is_refused_by_name(name, field):
    declared = fields_of_phase(METHODS[name])[field]
    bad = [object(), b"", {}]
    bad += [True, 1j] if int in declared.kinds else []
    bad += [1.5, float("inf")] if declared.is_whole else []
    bad += [1, "yes"] if bool in declared.kinds else []
    bad += ["3"] if str not in declared.kinds else []
    bad += [None] if type(None) not in declared.kinds else []
    for value in bad:
        with pytest.raises(InvalidInput) as caught:
            check_value(declared, value)
        assert caught.value.field == field


def test_a_new_method_is_one_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    @register("signs")
    @dataclass(frozen=True)
    class Signs(Method):
        """Steps along the signs of the gradient."""

        strength: float = option(1.0, "Multiple of every step.", above=0, most=10)

        def build(self, target, context):
            average = optax.stateless(lambda grads, params: context.exchange.workers.mean(grads))
            steps = optax.sign_sgd(context.learning_rate)
            return chain(average, steps, optax.scale(self.strength))

    def say(*words):
        return CliRunner().invoke(app, list(words), prog_name="subspace", env={"COLUMNS": "200"})

    try:
        assert "signs" in say("list").stdout
        assert "Multiple of every step" in say("list", "methods").stdout
        assert "--strength" in say("run", "--help").stdout
        config = RunConfig.resolve({"method": "sgd"}, [read_phase("signs:strength=2,lr=0.001")])
        assert config.phases[1].method == Signs(strength=2.0)
        assert RunConfig.from_json(config.to_json()) == config
        assert settings(config)["phase"]["method"] == "sgd"
        refused = say("run", "signs", "--strength", "11")
        assert refused.exit_code == 2
        assert "--strength: must be a positive number, at most 10, got 11.0" in refused.stderr
        given = ("--epochs", "1", "--batch-size", "256")
        assert say("run", "signs", "--lr", "0.01", *given, "--strength", "0.5").exit_code == 0
        tuned = say("tune", "signs", "--low", "-9", "--high", "-7", "--epochs", "1", *given[2:])
        assert tuned.exit_code == 0, tuned.output
    finally:
        del METHODS["signs"]
