"""How do servers, models, versions, batch sizes and loads become trials, run one after the other and resumable?"""
