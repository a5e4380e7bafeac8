"""What was remembered elsewhere: exports of other memories and of chats, read into plain values.

Writes nothing and knows no store: whoever stores reads all of it first.
"""
