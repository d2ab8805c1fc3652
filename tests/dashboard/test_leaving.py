"""A query ends with the run of the script that asked it: its tab was closed, or went to another page."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def test_a_query_asks_whether_to_go_on_and_goes_on() -> None:
    def script() -> None:
        import streamlit

        from dashboard import cache

        cache._look()
        streamlit.markdown("went on")

    ran = AppTest.from_function(script).run()
    assert not ran.exception
    assert [found.value for found in ran.markdown] == ["went on"]


def test_a_query_ends_when_its_tab_was_closed() -> None:
    def script() -> None:
        import streamlit
        from streamlit.runtime.scriptrunner import get_script_run_ctx

        from dashboard import cache

        streamlit.markdown("began")
        context = get_script_run_ctx()
        assert context is not None
        assert context.script_requests is not None
        context.script_requests.request_stop()  # as a session does when its tab is closed
        cache._look()
        streamlit.markdown("went on")

    ran = AppTest.from_function(script).run()
    assert not ran.exception
    assert [found.value for found in ran.markdown] == ["began"]
