"""The Streamlit program."""
