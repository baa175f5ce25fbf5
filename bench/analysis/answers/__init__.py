"""What is the answer to the question that a scenario asks?"""
