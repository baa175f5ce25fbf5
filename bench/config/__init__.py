"""Which servers and experiments does a user describe in files, as typed and checked values?"""
