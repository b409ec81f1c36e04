"""Files judged by what they hold alone, by code that shares nothing with what wrote them.

For other rooms: every module.
"""
