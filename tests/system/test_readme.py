"""What the README shows, runs."""

import os

import ranksearch
from tests.system.conftest import TinyNet


def test_its_python_examples_run_as_they_stand(readme_examples, deployment, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKSEARCH_URL", deployment.url)
    monkeypatch.setenv("RANKSEARCH_TOKEN", deployment.token)
    images, labels = digits.training
    scope = {"model": TinyNet().eval(), "images": images[:400], "labels": labels[:400]}
    assert len(readme_examples) >= 1
    for example in readme_examples:
        exec(compile(example, "README.md", "exec"), scope)  # noqa: S102 - our own README is what is tested
    assert "×" in capsys.readouterr().out
    assert isinstance(ranksearch.load(tmp_path / "small.safetensors"), scope["small"].__class__)
    assert "RANKSEARCH_TOKEN" in os.environ
