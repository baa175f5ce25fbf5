"""What a serving API says: signatures of models, and errors with their causes."""
