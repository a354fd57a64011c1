// lib/rollback/triggers.ts
export interface RollbackTrigger {
  type: 'error-rate' | 'response-time' | 'health-check' | 'manual' | 'alarm';
  threshold?: number;
  duration?: number;
  message: string;
}

export interface RollbackConfig {
  enabled: boolean;
  triggers: RollbackTrigger[];
  cooldownPeriod: number; // seconds
  maxRollbacks: number;
  notificationChannels: string[];
}

export const DEFAULT_ROLLBACK_CONFIG: RollbackConfig = {
  enabled: true,
  triggers: [
    {
      type: 'error-rate',
      threshold: 0.05, // 5% error rate
      duration: 60, // 1 minute
      message: 'Error rate exceeded threshold',
    },
    {
      type: 'response-time',
      threshold: 1000, // 1 second
      duration: 60, // 1 minute
      message: 'Response time exceeded threshold',
    },
    {
      type: 'health-check',
      threshold: 3, // 3 failed health checks
      duration: 60, // 1 minute
      message: 'Health check failed',
    },
  ],
  cooldownPeriod: 300, // 5 minutes
  maxRollbacks: 3,
  notificationChannels: ['slack', 'email'],
};
