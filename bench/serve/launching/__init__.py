"""How is a server that a file declares started, found ready, described, and always stopped again?"""
