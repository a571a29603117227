"""Run in a page's kernel before its cells: Markdown is also sent as HTML, since thebe renders no Markdown."""


def _markdown_as_html() -> None:
    from IPython import get_ipython
    from IPython.display import Markdown
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    def math(tex: str, options: dict) -> str:
        return rf"\[{tex}\]" if options["display_mode"] else rf"\({tex}\)"

    parser = MarkdownIt().enable("table").use(dollarmath_plugin, renderer=math)
    formatter = get_ipython().display_formatter.formatters["text/html"]
    formatter.for_type(Markdown, lambda markdown: parser.render(markdown.data))


_markdown_as_html()
del _markdown_as_html
