"""Interview of `harness init`: each answer is checked at once, and asked for again with what to mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError

from harness.cli.options import tell
from harness.cli.templates import (
    DEMO,
    RECORDED,
    endpoint_blocks,
    lineage_of,
    parties,
    shipped,
    template,
    template_text,
    templates,
)
from harness.config import UNKNOWN, OpenAIChat, guessed, looks_like_key, may_be_variable, providers, read_text
from harness.errors import ConfigError

Check = Callable[[str], str]
_PLACEHOLDER = "api.example.com"
_NO_KEY = "none"


def asked_text(folder: Path, environ: Mapping[str, str], seed: int) -> str:
    """Interview a user about question and endpoints; returns the config's text. ``typer.Abort`` on Ctrl-C."""
    tell("What do you want to know?")
    for number, (name, found) in enumerate(templates().items(), 1):
        tell(f"  {number}  {name:9} {found.title}")
    name = _ask("Number or name", _chosen, DEMO)
    if name == DEMO:
        return template_text(name)
    if name == RECORDED:
        return _recorded(folder)
    chosen = template(name)
    placeholder, reference = parties(chosen)
    blocks = endpoint_blocks(read_text(shipped(chosen.source)))
    stay = ("control",) if reference else ("control", "candidate")
    taken = [b.values["name"] for b in blocks if b.values["role"] in stay]
    lineages = [b.values["lineage"] for b in blocks if b.values["role"] != "suspect"]
    controls = [b.values["lineage"] for b in blocks if b.values["role"] == "control"]
    tell("", f"Known providers: {', '.join(providers())}. Controls: {', '.join(controls)}.")
    tell("", "The suspect, the model in question:")
    suspect = _party(placeholder, taken, [], environ)
    if not reference:
        return template_text(name, suspect, seed=seed)
    tell("", "The candidate, the model to compare it with:")
    return template_text(name, suspect, _party(reference, [*taken, suspect["name"]], lineages, environ), seed)


def _party(
    default: Mapping[str, Any], taken: Sequence[str], lineages: Sequence[str], environ: Mapping[str, str]
) -> dict[str, Any]:
    """One endpoint, question by question."""
    name = _ask("Its name in all tables", lambda a: _name(a, taken), default["name"])
    out: dict[str, Any] = {"name": name, "role": default["role"], "kind": "openai-chat"}
    where = default.get("provider", "openrouter")
    out |= _where(_ask("Address (https://...) or provider", _address, where))
    if "base_url" not in out and providers()[out["provider"]].base_url is None:
        note = providers()[out["provider"]].note.replace("`", "")
        out["base_url"] = _ask(f"Its address ({note})", _url, None)
    out["model"] = _ask("Model, as the server knows it", _model, None)
    if lineages:
        guess = lineage_of(out["model"], lineages)
        out["lineage"] = _ask("Lineage, the pretrained root it descends from (? if unknown)", _model, guess)
    out["maker"] = guessed(out["model"]).maker or UNKNOWN
    usual = providers()[out["provider"]].api_key_env if "provider" in out else default.get("api_key_env")
    variable = _variable(environ, usual)
    if variable != (usual if "provider" in out else None):
        out["api_key_env"] = variable  # None where the provider's usual key is not wanted
    return out


def _ask(question: str, check: Check, default: str | None, *, hidden: bool = False) -> str:
    while True:
        answer = str(typer.prompt(question, default=default, err=True, hide_input=hidden)).strip()
        try:
            if looks_like_key(answer):
                raise ValueError("this looks like a key, and no key belongs here; it was not kept")
            return check(answer)
        except ValueError as e:
            tell(f"  {e}")
        except ConfigError as e:
            tell(f"  {e.message}: {e.hint}")


def _chosen(answer: str) -> str:
    names = list(templates())
    if answer.isdecimal():
        if not 1 <= int(answer) <= len(names):
            raise ValueError(f"a number from 1 to {len(names)}, or a name")
        return names[int(answer) - 1]
    template(answer)
    return answer


def _valid(**values: str) -> None:
    """The config's own rules for a field, with its own words."""
    try:
        OpenAIChat.model_validate({"name": "x", "role": "suspect", "kind": "openai-chat", "model": "m", **values})
    except ValidationError as e:
        raise ValueError(e.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _name(answer: str, taken: Sequence[str]) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", answer):
        raise ValueError("letters, digits, '.', '_' and '-', at most 64, the first a letter or digit")
    if answer.casefold() in {t.casefold() for t in taken}:
        raise ValueError(f"another endpoint is called {answer!r}")
    return answer


def _where(answer: str) -> dict[str, str]:
    return {"base_url": answer} if "://" in answer else {"provider": answer}


def _address(answer: str) -> str:
    if "://" in answer:
        return _url(answer)
    if "." in answer and answer not in providers():
        raise ValueError("an address begins with https:// or http://")
    _valid(provider=answer, base_url="https://x.example")
    return answer


def _url(answer: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", answer) or _PLACEHOLDER in answer:
        raise ValueError("an address like https://HOST/v1, up to what stands before /chat/completions")
    return answer.rstrip("/").removesuffix("/chat/completions")


def _model(answer: str) -> str:
    if not answer or any(c.isspace() for c in answer):
        raise ValueError("one word, as its maker or the server writes it")
    return answer


def _variable(environ: Mapping[str, str], usual: str | None) -> str | None:
    """The variable of the key. What is typed is not shown, for some paste the key itself."""

    def check(answer: str) -> str:
        if answer != _NO_KEY and answer not in environ and not may_be_variable(answer):
            raise ValueError(
                "this is not the name of a variable, and it was not kept. Keys stay in the environment: "
                "export EXAMPLE_API_KEY=... and write EXAMPLE_API_KEY here"
            )
        return answer

    question = f"Variable that holds its key, or `{_NO_KEY}` (typing stays hidden)"
    name = _ask(question, check, usual or _NO_KEY, hidden=True)
    tell(f"  {name}" + ("" if name in environ or name == _NO_KEY else ", which is not set yet"))
    return None if name == _NO_KEY else name


def _recorded(folder: Path) -> str:
    """A config on a file of answers of any kind; what is read of it is written beside the config."""
    from harness.comparison import ANSWERS, campaign_name, cast, config_text, named_model
    from harness.report.account import account_lines
    from harness.sources import Gathered, gather
    from harness.transfer import write_answers

    found: list[Gathered] = []

    def readable(answer: str) -> str:
        found.append(gather([answer]))
        if len(found[-1].models) < 2:
            raise ValueError(f"it has answers of one model, {found[-1].models[0]}: put all files into one folder")
        return answer

    _ask("File or folder with the answers (CSV, XLSX, JSON, Parquet, a log)", readable, None)
    gathered = found[-1]
    for line in account_lines(gathered.account):
        tell(f"  {line}")
    models = gathered.models
    suspect = _ask("The suspect, the model in question", lambda a: named_model(a, models), None)
    others = [m for m in models if m != suspect]
    candidate = _ask("The candidate, the model to compare it with", lambda a: named_model(a, others), None)
    lineage = _ask(
        "Its lineage, the pretrained root it descends from (? if unknown)", _model, lineage_of(candidate, [])
    )
    casting = cast(Path(ANSWERS), gathered, suspect, candidate, lineage)
    write_answers(folder / ANSWERS, gathered.entries)
    return config_text(campaign_name(casting), casting, "# Answers that exist already; nobody is called.\n")
