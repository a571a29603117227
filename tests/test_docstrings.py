"""Docstrings of public functions begin with a verb: a reader sees first what a call does."""

import ast

from tests.conftest import ROOT

# Beginnings of a description of the result, or of a clause that stands for one.
NO_VERBS = {
    *("a", "an", "as", "each", "every", "everything", "for", "how", "in", "it", "of", "that", "the", "these"),
    *("what", "where", "whether", "which", "why"),
}


def test_public_functions_are_described_by_a_verb():
    others = []
    for path in sorted([*ROOT.glob("modules_lib/**/*.py"), *ROOT.glob("reproduction/**/*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                is_property = any(getattr(decorator, "id", "") == "property" for decorator in node.decorator_list)
                words = (ast.get_docstring(node) or "").split()
                if words and words[0].lower() in NO_VERBS and not is_property:
                    others.append(f"{path.name}: {node.name}: {' '.join(words[:6])}")
    assert others == []
