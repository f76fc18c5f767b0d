"""The build backend: which TensorFlow it asks for, and what it does without a compiler."""

import importlib.util
import pathlib

import pytest

BACKEND = pathlib.Path(__file__).resolve().parents[2] / "tf_kernels" / "build_backend.py"


@pytest.fixture
def backend():
    pytest.importorskip("scikit_build_core")
    spec = importlib.util.spec_from_file_location("build_backend", BACKEND)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["tensorflow", "tensorflow_cpu"])
def test_the_tensorflow_installed_is_the_one_built_against(backend, tmp_path, monkeypatch, name):
    (tmp_path / f"{name}-2.20.1.dist-info").mkdir()
    (tmp_path / "tensorflow_text-2.19.0.dist-info").mkdir()
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda key: str(tmp_path))
    assert "tensorflow-cpu==2.20.1" in backend.get_requires_for_build_wheel()


def test_without_one_the_newest_is_asked_for(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda key: str(tmp_path))
    assert "tensorflow-cpu" in backend.get_requires_for_build_wheel()


def test_without_a_compiler_the_package_is_built_without_native_code(backend, monkeypatch, capsys):
    monkeypatch.setattr(backend.shutil, "which", lambda name: None)
    seen = {}
    monkeypatch.setattr(
        backend._build, "build_wheel", lambda folder, settings, metadata: seen.update(settings)
    )
    assert backend.get_requires_for_build_wheel() == []
    backend.build_wheel("unused")
    assert seen == {"wheel.cmake": "false"}
    assert "no C++ compiler was found; install g++" in capsys.readouterr().err


def test_another_system_is_built_without_native_code(backend, monkeypatch):
    monkeypatch.setattr(backend.platform, "machine", lambda: "aarch64")
    assert "aarch64" in backend._why_not_native()
